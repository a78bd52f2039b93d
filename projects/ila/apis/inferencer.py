import os
import re
from pathlib import Path
from typing import Any, Iterator, List, Optional, Sequence, Tuple, Union

from mmengine.config import Config
from mmengine.infer.infer import ModelType
from mmengine.registry import init_default_scope
from torch import nn

from mmaction.registry import INFERENCERS
from mmaction.structures import ActionDataSample
from ..models.heads import check_text_tower, has_text_tower
from ..models.text import parse_class_names
from ..utils import find_device
from .captions import NUM_CLASSES, name_outputs, write_captioned
from .clip_reader import count_window
from .frame_stream import DEFAULT_FPS, WindowPredictor, open_stream, slide
from .loading import find_config, list_configs, load_recognizer
from .predictions import check_pred_out_file, summarize, write_predictions
from .video_embedder import VideoEmbedder
from .video_inferencer import check_count, check_positive
from .video_inputs import InputsType, PathType, VideoInput


@INFERENCERS.register_module()
class ILAInferencer(VideoEmbedder):
    """Classify or embed videos with a trained ILA model.

    Videos are read with the config's test pipeline, as in ``tools/test.py``.
    Arguments have the names of MMAction2's inferencers.

    Args:
        model (str | Path | Config): Config of an ``ILARecognizer``, its file,
            the name of one in this project, such as ``'ila_vitb16_k400'``, or
            a shared model: its folder or ``'hf:owner/name'``.
        weights (str | Path, optional): The model's weights, see
            :func:`load_recognizer`. Defaults to ``load_from`` of the config.
        device (str, optional): None and ``'auto'`` use a GPU if available.
        classes (str | Sequence[str], optional): See :func:`parse_class_names`.
            A model with a text head and its tower classifies with these names
            instead of its own (open vocabulary). For a linear head, they name
            its labels, whose names are numbers by default.
        show_progress (bool): Whether to draw a progress bar on stderr.

    Raises:
        FileNotFoundError: The weights do not exist.
        ValueError: The config is for another kind of model, the weights or
            ``classes`` do not fit it, or there is no such device.
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
        if isinstance(model, (str, Path)):
            model = find_config(str(model))
        super().__init__(
            model,
            self.weights,
            find_device(device),
            scope='mmaction',
            show_progress=show_progress)

    def _init_model(self,
                    cfg: Config,
                    weights: Optional[str],
                    device: str = 'cpu') -> nn.Module:
        """Build the model, load its weights and prepare it for inference."""
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
        elif has_text_tower(head):
            head.tokens  # Raises an error now if a name is too long.
        self._check_rivals(self.classes, head)
        # Other averages are not probabilities.
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
        return has_text_tower(self.model.cls_head)

    def set_classes(self, classes: Union[str, Sequence[str]]) -> None:
        """Change the names, see :func:`parse_class_names`.

        Raises:
            ValueError: Names are empty, repeated, too long or fewer than 2,
                or the model has no text tower.
        """
        names = parse_class_names(classes)
        self._check_rivals(names, self.model.cls_head)
        if names != self.classes:
            check_text_tower(self.model.cls_head)
            self.model.cls_head.set_class_names(names)
            self.classes = names

    def __repr__(self) -> str:
        config = getattr(self.cfg, 'filename', None)
        device = next(self.model.parameters()).device
        return (f'{type(self).__name__}(model={config!r}, '
                f"weights={self.weights!r}, device='{device}', "
                f'temporal={self.model.backbone.temporal_type}, '
                f'classes={len(self.classes)})')

    @staticmethod
    def list_models(scope: Optional[str] = None,
                    patterns: str = '.*') -> List[str]:
        """List the names of this project's configs.

        Args:
            scope (None): Unused; it is an argument of MMEngine's method.
            patterns (str): Regular expression for the start of the names.
        """
        return [name for name in list_configs() if re.match(patterns, name)]

    def __call__(self,
                 inputs: InputsType,
                 return_datasamples: bool = False,
                 print_result: bool = False,
                 pred_out_file: PathType = '',
                 **kwargs) -> dict:
        """Classify videos, or windows of them.

        Args:
            inputs (InputsType): See :func:`list_inputs`.
            return_datasamples (bool): Whether ``predictions`` are the model's
                ``ActionDataSample``, one per video or window.
            print_result (bool): Whether to print the results.
            pred_out_file (str | Path): File for the results, ``.json``,
                ``.yaml`` or ``.pkl``. Defaults to none.
            **kwargs: See :meth:`iterate`, which also lists the exceptions.

        Returns:
            dict: ``predictions`` and ``errors``, lists of the dicts that
            :meth:`iterate` yields, each in the order of the inputs.
        """
        check_pred_out_file(pred_out_file, return_datasamples)
        predictions, errors = [], []
        for number, result in self._iterate(inputs, return_datasamples,
                                            **kwargs):
            if isinstance(result, list):
                predictions += result
            else:
                errors.append((number, result))
        errors = [error for _, error in sorted(errors, key=lambda x: x[0])]
        results = dict(predictions=predictions, errors=errors)
        if print_result:
            print(results)
        if pred_out_file:
            write_predictions(results, pred_out_file)
        return results

    def iterate(self, inputs: InputsType, **kwargs) -> Iterator[dict]:
        """Classify videos one after the other, or windows of them.

        Args:
            inputs (InputsType): See :func:`list_inputs`.
            batch_size (int): Number of videos or windows, each with all its
                views, in a batch.
            topk (int): Largest number of classes in a prediction.
            window (float, optional): Length in seconds of windows that slide
                over a video, see :func:`split_windows`. Defaults to the whole
                video.
            stride (float, optional): Seconds from one window to the next.
                Defaults to ``window``.
            vid_out_dir (str | Path): Folder for copies of the videos with the
                classes drawn on them; decodes each video again. Defaults to
                none.

        Yields:
            dict: ``file`` and ``topk``, a list of dicts ``label``, ``name``
            and ``score``, the probability averaged over the views. With
            windows, ``file`` and ``timeline``, a list of dicts ``start``,
            ``end``, in seconds, and ``topk``. For an input without a
            prediction, ``file`` and ``error``.

        Raises:
            FileNotFoundError: There are no videos at all.
            ValueError: An argument is out of its range.
        """
        for _, result in self._iterate(inputs, **kwargs):
            yield from result if isinstance(result, list) else [result]

    def _iterate(self,
                 inputs: InputsType,
                 return_datasamples: bool = False,
                 topk: int = 5,
                 vid_out_dir: PathType = '',
                 **kwargs) -> Iterator[Tuple[int, Union[list, dict]]]:
        """Yield each input's number with its predictions or its error."""
        check_count('topk', topk)
        videos = self.list_videos(inputs)
        if vid_out_dir:
            os.makedirs(vid_out_dir, exist_ok=True)
            paths = name_outputs(vid_out_dir, [video.name for video in videos])
        for result in self.run(videos, self.forward, 'pred_score', **kwargs):
            number = result.pop('number')
            if 'error' in result:
                yield number, result
                continue
            preds = result.pop('clips')
            yield number, self.postprocess(preds, None, return_datasamples,
                                           topk)
            if vid_out_dir:
                try:
                    self.visualize([videos[number]], preds, paths[number])
                except (OSError, ValueError) as error:
                    result['error'] = f'it is not drawn: {error}'
                    yield number, result

    def visualize(self, inputs: List[VideoInput],
                  preds: List[ActionDataSample], path: Path) -> None:
        """Write a video with its predictions drawn on it."""
        prediction, = summarize(preds, self.classes, NUM_CLASSES)
        fps, frames = self.reader.read_all(inputs[0])
        write_captioned(path, frames, prediction, fps or DEFAULT_FPS)

    def postprocess(self,
                    preds: List[ActionDataSample],
                    visualization: None = None,
                    return_datasamples: bool = False,
                    topk: int = 5) -> list:
        """Turn predictions into names and plain numbers, see `iterate`."""
        if return_datasamples:
            return preds
        return summarize(preds, self.classes, topk)

    def stream(self,
               source: Any,
               window: float = 2.,
               stride: Optional[float] = None,
               topk: int = 5,
               fps: Optional[float] = None) -> Iterator[dict]:
        """Classify a camera or a stream in real time.

        Results are the same as from :meth:`iterate` with such windows.

        Args:
            source (int | str | InputType | Iterable): The number of a camera,
                a stream's URL, such as ``'rtsp://...'``, a video, see
                :func:`list_inputs`, or frames ``(H, W, 3)``, uint8, RGB.
            window (float): Length of a window in seconds.
            stride (float, optional): Seconds from one window to the next.
                Defaults to one frame.
            topk (int): Largest number of classes in a prediction.
            fps (float, optional): Frames per second. Defaults to the rate
                that the source states, or 25.

        Yields:
            dict: ``file``, the source's name, ``start``, ``end``, in seconds,
            and ``topk``, as soon as a window is complete.

        Raises:
            OSError: A file cannot be read.
            ValueError: The source cannot be opened, the model does not accept
                its frames, or an argument is out of its range.
        """
        check_count('topk', topk)
        for name in ('window', 'stride', 'fps'):
            check_positive(name, locals()[name])
        name, stated, images = open_stream(source, self.reader)
        fps = fps or stated or DEFAULT_FPS
        step = 1 if stride is None else max(stride * fps, 1)
        predict = WindowPredictor(self.model, self.reader)
        windows = slide(images, count_window(window, fps), step)
        for start, end, frames in windows:
            sample = predict(start, end, frames, fps)
            sample.set_metainfo(dict(number=0, filename=name))
            prediction, = summarize([sample], self.classes, topk)
            yield dict(file=name, **prediction['timeline'][0])
