from pathlib import Path
from typing import Iterator, List, Optional, Sequence, Tuple, Union

import numpy as np
from mmengine.config import Config
from mmengine.infer.infer import ModelType
from mmengine.registry import init_default_scope
from torch import nn

from mmaction.registry import INFERENCERS
from mmaction.structures import ActionDataSample
from ..models.text import parse_class_names
from ..utils import find_device
from .loading import find_config, load_recognizer
from .predictions import summarize
from .video_inferencer import PathType, VideoInferencer, check_positive


@INFERENCERS.register_module()
class ILAInferencer(VideoInferencer):
    """Classify or embed videos with a trained ILA model.

    They are read by the config's test pipeline, as ``tools/test.py`` does.

    Args:
        model (str | Path | Config): Config of an ``ILARecognizer``, its file,
            or the name of one in this project, such as ``'ila_vitb16_k400'``.
        weights (str | Path, optional): The model's weights, see
            :func:`load_recognizer`. Defaults to ``load_from`` of the config.
        device (str, optional): None and ``'auto'`` take a GPU if there is
            one.
        classes (str | Sequence[str], optional): See :func:`parse_class_names`.
            A model with a text head and its tower classifies with these names
            instead of its own (open vocabulary). A linear head's labels get
            these names, and otherwise their number as name.
        show_progress (bool): Whether to draw a progress bar on stderr.

    Raises:
        FileNotFoundError: There are no such weights.
        ValueError: The config is not of such a model, the weights are not
            its, ``classes`` do not fit, or there is no such device.
    """

    def __init__(self,
                 model: Union[ModelType, Path],
                 weights: Optional[PathType] = None,
                 device: Optional[str] = None,
                 classes: Optional[Union[str, Sequence[str]]] = None,
                 show_progress: bool = True) -> None:
        init_default_scope('mmaction')
        self.weights = None if weights is None else str(weights)
        self.classes = None if classes is None else parse_class_names(classes)
        super().__init__(
            find_config(str(model)) if isinstance(model,
                                                  (str, Path)) else model,
            self.weights,
            find_device(device),
            scope='mmaction',
            show_progress=show_progress)

    def _init_model(self,
                    cfg: Config,
                    weights: Optional[str],
                    device: str = 'cpu') -> nn.Module:
        """Build the model, load it and make it ready for inference."""
        head = cfg.get('model', dict()).get('cls_head', dict())
        if self.classes is not None and 'class_names' in head:
            head.update(class_names=self.classes, num_classes=None)
        self.weights = weights or cfg.get('load_from')
        model = load_recognizer(
            cfg.get('model'), self.weights, device, deploy=True)
        model.cfg = cfg
        head = model.cls_head
        if self.classes is None:
            numbers = [str(number) for number in range(head.num_classes)]
            self.classes = getattr(head, 'class_names', numbers)
        elif len(self.classes) != head.num_classes:
            raise ValueError(
                f'`classes` are {len(self.classes)} names, but the model has '
                f'a linear head with {head.num_classes} labels of its own; '
                'give one name per label in their order, or take a model '
                'with a text head for other classes')
        self._check_rivals(self.classes, head)
        # Averages of another kind are no probabilities.
        head.average_clips = 'prob'
        return model

    @staticmethod
    def _check_rivals(classes: List[str], head: nn.Module) -> None:
        if len(classes) < 2 and not head.multi_class:
            raise ValueError('class names must be 2 or more: the score of a '
                             'class that has no rival is always 1')

    @property
    def open_vocabulary(self) -> bool:
        """bool: Whether :meth:`set_classes` works."""
        return self.model.cls_head.open_vocabulary

    def set_classes(self, classes: Union[str, Sequence[str]]) -> None:
        """Change the names, see :func:`parse_class_names`.

        Raises:
            ValueError: Names are empty, repeated or fewer than 2, or the
                model has no text tower.
        """
        names = parse_class_names(classes)
        self._check_rivals(names, self.model.cls_head)
        if names != self.classes:
            self.model.cls_head.set_class_names(names)
            self.classes = names

    def __call__(self,
                 inputs: Union[PathType, Sequence[PathType]],
                 return_datasamples: bool = False,
                 **kwargs) -> dict:
        """Classify videos, or windows of them.

        Args:
            inputs (str | Path | Sequence): Paths, see :func:`find_videos`.
            return_datasamples (bool): Whether ``predictions`` are the model's
                ``ActionDataSample``, one per video or window.
            **kwargs: See :meth:`iterate`, as the errors.

        Returns:
            dict: ``predictions`` and ``errors``, lists of what
            :meth:`iterate` yields, each in the order of the inputs.
        """
        predictions, errors = [], []
        for number, result in self._iterate(inputs, return_datasamples,
                                            **kwargs):
            if isinstance(result, list):
                predictions += result
            else:
                errors.append((number, result))
        errors = [error for _, error in sorted(errors, key=lambda x: x[0])]
        return dict(predictions=predictions, errors=errors)

    def iterate(self, inputs: Union[PathType, Sequence[PathType]],
                **kwargs) -> Iterator[dict]:
        """Classify videos one after the other, or windows of them.

        Args:
            inputs (str | Path | Sequence): Paths, see :func:`find_videos`.
            batch_size (int): Videos or windows, each with all its views, that
                pass through the model at once.
            topk (int): Classes to give, at most.
            window (float, optional): Seconds of the windows that slide over
                a video, see :func:`split_windows`. Defaults to all of it.
            stride (float, optional): Seconds from one window to the next.
                Defaults to ``window``.

        Yields:
            dict: ``file`` and ``topk``, a list of dicts ``label``, ``name``
            and ``score``, the probability averaged over the views. With
            windows, ``file`` and ``timeline``, a list of dicts ``start``,
            ``end``, in seconds, and ``topk``. Or ``file`` and ``error`` of an
            input that has no prediction.

        Raises:
            FileNotFoundError: There are no videos at all.
            ValueError: An argument is out of its range.
        """
        for _, result in self._iterate(inputs, **kwargs):
            yield from result if isinstance(result, list) else [result]

    def _iterate(self,
                 inputs: Union[PathType, Sequence[PathType]],
                 return_datasamples: bool = False,
                 topk: int = 5,
                 **kwargs) -> Iterator[Tuple[int, Union[list, dict]]]:
        """Give each input's number with its predictions or its error."""
        check_positive('topk', topk)
        files = self.list_videos(inputs)
        for result in self.run(files, self.forward, 'pred_score', **kwargs):
            number = result.pop('number')
            if 'clips' in result:
                result = self.postprocess(result['clips'], None,
                                          return_datasamples, topk)
            yield number, result

    def postprocess(self,
                    preds: List[ActionDataSample],
                    visualization: None = None,
                    return_datasamples: bool = False,
                    topk: int = 5) -> list:
        """Turn predictions into names and plain numbers, see `iterate`."""
        if return_datasamples:
            return preds
        return summarize(preds, self.classes, topk)

    def iterate_embeddings(self,
                           inputs: Union[PathType, Sequence[PathType]],
                           batch_size: int = 1) -> Iterator[dict]:
        """Embed videos one after the other, see :meth:`embed`.

        Yields:
            dict: ``file`` and ``embedding``, float32 ``(E, )``, or ``file``
            and ``error``.
        """
        files = self.list_videos(inputs)
        for result in self.run(files, self._embed, 'embedding', batch_size):
            del result['number']
            for clip in result.pop('clips', []):
                result['embedding'] = clip.embedding.numpy()
            yield result

    def _embed(self, batch: dict) -> List[ActionDataSample]:
        videos = self.model.data_preprocessor(batch, False)['inputs']
        embeddings = self.model.encode_video(videos).float().cpu()
        for sample, embedding in zip(batch['data_samples'], embeddings):
            sample.embedding = embedding
        return batch['data_samples']

    def embed(self,
              inputs: Union[PathType, Sequence[PathType]],
              batch_size: int = 1) -> dict:
        """Embed videos, for retrieval or a classifier of one's own.

        Args:
            inputs (str | Path | Sequence): Paths, see :func:`find_videos`.
            batch_size (int): Videos, each with all its views, that pass
                through the model at once.

        Returns:
            dict: ``files``, a list of ``N`` paths; ``embeddings``, their
            float32 ``(N, E)`` of length 1, see
            :meth:`ILARecognizer.encode_video`; ``errors``, a list of dicts
            ``file`` and ``error``.

        Raises:
            FileNotFoundError: There are no videos at all.
            ValueError: ``batch_size`` is out of its range.
        """
        results = list(self.iterate_embeddings(inputs, batch_size))
        found = [result for result in results if 'error' not in result]
        size = self.model.cls_head.in_channels
        return dict(
            files=[result['file'] for result in found],
            embeddings=np.array([result['embedding'] for result in found],
                                np.float32).reshape(-1, size),
            errors=[result for result in results if 'error' in result])

    def embed_text(self, names: Union[str, Sequence[str]]) -> np.ndarray:
        """Embed texts, put into the head's templates, for comparison with
        videos.

        Args:
            names (str | Sequence[str]): One or ``K`` names of actions.

        Returns:
            np.ndarray: float32 ``(K, E)`` of length 1.

        Raises:
            ValueError: The model has no text tower, or a text is too long.
        """
        names = [names] if isinstance(names, str) else list(names)
        return self.model.encode_text(names).float().cpu().numpy()
