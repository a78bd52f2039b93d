import os
from itertools import chain, groupby
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Sequence, Tuple, Union

import numpy as np
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.infer.infer import BaseInferencer, ModelType
from mmengine.registry import init_default_scope
from rich.console import Console
from rich.progress import Progress
from torch import nn

from mmaction.registry import INFERENCERS
from mmaction.structures import ActionDataSample
from ..datasets.search import VIDEO_SUFFIXES, find_videos
from ..models.text import parse_class_names
from .clip_reader import ClipReader
from .loading import find_config, load_recognizer
from .predictions import summarize

PathType = Union[str, Path]


@INFERENCERS.register_module()
class ILAInferencer(BaseInferencer):
    """Classify videos with a trained ILA model.

    They are read by the config's test pipeline, as ``tools/test.py`` does.

    Args:
        model (str | Path | Config): Config of an ``ILARecognizer``, its file,
            or the name of one in this project, such as ``'ila_vitb16_k400'``.
        weights (str | Path, optional): All of the model's weights, with this
            project's or the released names. None, for trials, means random
            ones.
        device (str, optional): Defaults to a GPU if there is one.
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
            str(model) if isinstance(model, Path) else model,
            self.weights,
            device,
            scope='mmaction',
            show_progress=show_progress)

    def _load_model_from_metafile(self, model: str) -> Tuple[Config, None]:
        """Load one of this project's configs by its name."""
        return find_config(model), None

    def _init_model(self,
                    cfg: Config,
                    weights: Optional[str],
                    device: str = 'cpu') -> nn.Module:
        """Build the model, load it and make it ready for inference."""
        head = cfg.get('model', dict()).get('cls_head', dict())
        if self.classes is not None and 'class_names' in head:
            head.update(class_names=self.classes, num_classes=None)
        model = load_recognizer(cfg.get('model'), weights, device, deploy=True)
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

    def _init_pipeline(self, cfg: Config) -> Compose:
        self.reader = ClipReader(cfg)
        return self.reader.pipeline

    def _init_visualizer(self, cfg: Config) -> None:
        """Nothing is drawn."""

    def visualize(self, inputs: list, preds: list, **kwargs) -> None:
        """Nothing is drawn."""

    def _inputs_to_list(
            self, inputs: Union[PathType, Sequence[PathType]]) -> List[str]:
        """List the videos; a missing one stays and fails in its place."""
        if isinstance(inputs, (str, Path)):
            inputs = [inputs]
        paths = [os.fspath(path) for path in inputs]
        found = [find_videos(path, self.reader.takes_frames) for path in paths]
        if not any(found):
            raise FileNotFoundError(
                f"there are no videos in '{', '.join(paths)}'; give files, "
                f'folders or patterns of {", ".join(VIDEO_SUFFIXES)} or '
                'folders of images')
        return [
            video for path, videos in zip(paths, found)
            for video in videos or [path]
        ]

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

    def _iterate(
        self,
        inputs: Union[PathType, Sequence[PathType]],
        return_datasamples: bool = False,
        batch_size: int = 1,
        topk: int = 5,
        window: Optional[float] = None,
        stride: Optional[float] = None
    ) -> Iterator[Tuple[int, Union[list, dict]]]:
        """Give each input's number with its predictions or its error."""
        if window is None and stride is not None:
            raise ValueError('stride needs a window, in seconds too')
        stride = window if stride is None else stride
        for name in ('batch_size', 'topk', 'window', 'stride'):
            value = locals()[name]
            if value is not None and not 0 < value < np.inf:
                raise ValueError(f'{name} must be more than 0, got {value}')
        files = self._inputs_to_list(inputs)
        errors, num_told, clips = dict(), 0, []
        batches = self.preprocess(files, batch_size, window, stride, errors)
        for batch in chain(batches, [None]):
            for pred in self._predict(batch, errors) if batch else []:
                if clips and clips[0].number != pred.number:
                    clips = []  # Of a video that failed after its first ones.
                clips.append(pred)
                if pred.is_last:
                    if pred.number not in errors:
                        yield pred.number, self.postprocess(
                            clips, None, return_datasamples, topk)
                    clips = []
            for number in list(errors)[num_told:]:
                yield number, dict(file=files[number], error=errors[number])
            num_told = len(errors)

    def _predict(self, batch: dict,
                 errors: Dict[int, str]) -> List[ActionDataSample]:
        """Run the model on a batch, and note the errors of its videos."""
        samples, error = batch['data_samples'], None
        try:
            samples = self.forward(batch)
        except ValueError as failure:  # The model cannot take their size.
            error = str(failure)
        for sample in samples:
            if error is None and not sample.pred_score.isfinite().all():
                errors.setdefault(
                    sample.number,
                    'the scores are not finite; use weights that are, or '
                    'compute in 32-bit floats')
            elif error is not None:
                errors.setdefault(sample.number, error)
        return samples

    def preprocess(self, inputs: List[str], batch_size: int,
                   window: Optional[float], stride: Optional[float],
                   errors: Dict[int, str]) -> Iterator[dict]:
        """Read videos and make batches of those with the same size.

        ``errors`` gets the errors, by number of the input.
        """

        def read_all() -> Iterator[dict]:
            for number, file in enumerate(
                    progress.track(inputs, description='Inference')):
                try:
                    clips = self.reader.read(file, window, stride)
                    clip = next(clips)
                    while clip:
                        following = next(clips, None)
                        clip['data_samples'].set_metainfo(
                            dict(
                                number=number,
                                filename=file,
                                is_last=following is None))
                        yield clip
                        clip = following
                except Exception as error:  # Its type depends on the file.
                    message = str(error).strip().split('\n')[0]
                    if not isinstance(error, (OSError, ValueError)):
                        message = f'{type(error).__name__}: {message}'
                    errors[number] = message

        # What its user prints is not for the progress bar's console.
        with Progress(
                console=Console(stderr=True),
                redirect_stdout=False,
                disable=not self.show_progress) as progress:
            for _, clips in groupby(read_all(),
                                    lambda clip: clip['inputs'].shape):
                yield from map(self.collate_fn,
                               self._get_chunk_data(clips, batch_size))

    def postprocess(self,
                    preds: List[ActionDataSample],
                    visualization: None = None,
                    return_datasamples: bool = False,
                    topk: int = 5) -> list:
        """Turn predictions into names and plain numbers, see `iterate`."""
        if return_datasamples:
            return preds
        return summarize(preds, self.classes, topk)
