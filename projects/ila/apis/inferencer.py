import glob
import os
import warnings
from itertools import chain, groupby
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.infer.infer import BaseInferencer, ModelType
from mmengine.registry import init_default_scope
from rich.console import Console
from rich.progress import Progress
from torch import nn

from mmaction.registry import INFERENCERS, MODELS
from mmaction.structures import ActionDataSample
from mmaction.utils import get_str_type
from ..datasets.annotations import VIDEO_SUFFIXES, natural_key
from ..datasets.frame_folders import FRAME_TEMPLATE, FrameFolder, select_files
from ..datasets.transforms.loading import find_reading, iter_frames
from ..models.text import load_class_names
from .loading import load_recognizer

PathType = Union[str, Path]


def find_videos(path: str, prefer_frames: bool = False) -> List[str]:
    """Find the videos that a path stands for, in natural order.

    Args:
        path (str): A file, a folder or a pattern of the shell, with ``**``
            for any folders. Folders are searched with their subfolders. Where
            none of them holds a video file, each one with images is a video,
            the images its frames.
        prefer_frames (bool): Whether to look for videos only where there is
            no such folder. Defaults to False.

    Returns:
        list[str]: Files and folders of frames; none if nothing is there.
    """
    if os.path.lexists(path) and not os.path.isdir(path):
        return [path]  # Also what is no file: it is for the reader to say.
    if not os.path.isdir(path):
        found = []
        for match in sorted(glob.glob(path, recursive=True), key=natural_key):
            found += find_videos(match, prefer_frames)
        # `**` gives a folder as well as what is in it.
        return list(dict.fromkeys(found))
    videos, frame_folders = [], []
    for folder, subfolders, names in os.walk(path):
        subfolders[:] = sorted((name for name in subfolders if name[0] != '.'),
                               key=natural_key)
        videos += select_files(folder, VIDEO_SUFFIXES, names)
        if select_files(folder, names=names):
            frame_folders.append(folder)
    if prefer_frames:
        return frame_folders or videos
    return videos or frame_folders


def split_windows(num_frames: int, fps: float, window: float,
                  stride: float) -> List[Tuple[int, int]]:
    """Split a video into windows of equal length.

    One starts every ``stride`` seconds. The last one, if it would reach beyond
    the end, is moved back to end with the video. A video that is shorter than
    a window is one window.

    Args:
        num_frames (int): Frames of the video.
        fps (float): Its frames per second.
        window (float): Seconds of a window.
        stride (float): Seconds from one window to the next.

    Returns:
        list[tuple[int, int]]: First frame of each window and the one behind
        its last.

    Raises:
        ValueError: The frame rate is unknown, or a window has fewer than 2
            frames.
    """
    if not 0 < fps < np.inf:
        raise ValueError('the file does not tell the frame rate that windows '
                         'need; encode it anew')
    length = round(min(window * fps, num_frames))
    if length < 2:
        raise ValueError(f'a window of {window:g} s has fewer than 2 frames '
                         f'at {fps:g} frames per second; take a longer one')
    starts = np.arange(0, num_frames, max(stride * fps, 1))
    starts = np.unique(np.minimum(np.rint(starts), num_frames - length))
    return [(start, start + length) for start in starts.astype(int).tolist()]


def _first_line(error: Exception) -> str:
    return str(error).strip().split('\n')[0]


@INFERENCERS.register_module()
class ILAInferencer(BaseInferencer):
    """Classify videos with a trained ILA model.

    Videos are decoded, sampled and cropped by the config's test pipeline, as
    ``tools/test.py`` does; windows of a video in one pass. Nothing is drawn:
    MMAction2 1.2.0's visualizer looks for predictions under a name that they
    no longer have.

    Args:
        model (str | Path | Config): Config of an ``ILARecognizer``, its file,
            or the name of one in this project, such as ``'ila_vitb16_k400'``.
        weights (str | Path, optional): All of the model's weights, with this
            project's or the released names. None, for trials, means random
            ones.
        device (str, optional): Defaults to a GPU if there is one.
        classes (str | Sequence[str], optional): See :func:`load_class_names`.
            A model with a text head and its tower classifies with these names
            instead of its own (open vocabulary). A linear head's labels get
            these names, and otherwise their number as name.
        show_progress (bool): Whether to draw a progress bar on stderr.
            Defaults to True.

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
        self.classes = None if classes is None else load_class_names(classes)
        super().__init__(
            str(model) if isinstance(model, Path) else model,
            self.weights,
            device,
            scope='mmaction',
            show_progress=show_progress)

    def _load_model_from_metafile(self, model: str) -> Tuple[Config, None]:
        """Load one of this project's configs by its name."""
        package = Path(__file__).resolve().parents[2]
        # A wheel has them in `.mim`, a clone beside the package.
        for folder in (package / '.mim', package.parent):
            path = folder / 'configs' / f'{model}.py'
            if path.is_file():
                return Config.fromfile(path), None
        raise ValueError(f"'{model}' is neither a config file nor the name of "
                         "one of this project's; fix its path")

    def _set_classes(self, head: dict) -> None:
        """Give the head's config the class names, or refuse them."""
        if 'class_names' in head:
            head.update(class_names=self.classes, num_classes=None)
        elif len(self.classes) != head.num_classes:
            raise ValueError(
                f'`classes` are {len(self.classes)} names, but the model has '
                f'a linear head with {head.num_classes} labels of its own; '
                'give one name per label in their order, or take a model '
                'with a text head for other classes')

    def _init_model(self,
                    cfg: Config,
                    weights: Optional[str],
                    device: str = 'cpu') -> nn.Module:
        """Build the model, load it and make it ready for inference."""
        kind = get_str_type(cfg.get('model', dict()).get('type', 'missing'))
        if not kind.endswith('ILARecognizer'):
            raise ValueError(f"`model.type` of the config is '{kind}', not "
                             "'ILARecognizer'; take a config of ILA")
        try:
            torch.empty(0, device=device)
        except (AssertionError, RuntimeError) as error:
            raise ValueError(f"device '{device}' cannot be used "
                             f'({_first_line(error)}); take another one')
        if self.classes is not None:
            self._set_classes(cfg.model.cls_head)
        if weights is None:
            warnings.warn('the weights are random, and so are predictions')
            model = MODELS.build(cfg.model).eval()
        else:
            model = load_recognizer(cfg.model, weights)
        model.cfg = cfg
        model.to(device).switch_to_deploy()
        if len(self.classes or '..') < 2 and not model.cls_head.multi_class:
            raise ValueError('`classes` must be 2 or more: the score of '
                             'a class that has no rival is always 1')
        # Averages of another kind are no probabilities.
        model.cls_head.average_clips = 'prob'
        if self.classes is None:
            numbers = map(str, range(model.cls_head.num_classes))
            self.classes = getattr(model.cls_head, 'class_names',
                                   list(numbers))
        return model

    def _init_pipeline(self, cfg: Config) -> Compose:
        """Build the test pipeline, and its parts around the decoding."""
        dataset = cfg.get('test_dataloader', dict()).get('dataset', dict())
        steps = list(dataset.get('pipeline', []))
        try:
            opening, decoding = find_reading(steps)
        except ValueError as error:
            raise ValueError(f'`test_dataloader.dataset.pipeline`: {error}')
        self._frame_template = None
        if opening == decoding:
            self._frame_template = dataset.get('filename_tmpl', FRAME_TEMPLATE)
        self._open = Compose([steps[opening]])
        self._decode = Compose([steps[decoding]])
        self._sample = Compose(steps[:opening] + steps[opening + 1:decoding])
        self._prepare = Compose([dict(type='ArrayDecode')] +
                                steps[decoding + 1:])
        return Compose(steps)

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
        prefer_frames = self._frame_template is not None
        found = [find_videos(path, prefer_frames) for path in paths]
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
                Defaults to False.
            **kwargs: See :meth:`iterate`.

        Returns:
            dict: ``predictions`` and ``errors``, lists of what
            :meth:`iterate` yields, each in the order of the inputs.

        Raises:
            FileNotFoundError: There are no videos at all.
            ValueError: An argument is out of its range.
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
                pass through the model at once. Defaults to 1.
            topk (int): Classes to give, at most. Defaults to 5.
            window (float, optional): Seconds of the windows that slide over
                a video, see :func:`split_windows`. Defaults to all of it.
            stride (float, optional): Seconds from one window to the next.
                Defaults to ``window``.

        Yields:
            dict: ``file`` and ``topk``, a list of dicts ``label``, ``name``
            and ``score``, the probability averaged over the views: the
            softmax over the classes, or each class's sigmoid if the model is
            of several labels per video. With windows, ``file`` and
            ``timeline``, a list of dicts ``start``, ``end``, in seconds at
            the video's average frame rate, and ``topk``. Or ``file`` and
            ``error`` of an input that has no prediction.

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

        Args:
            inputs (list[str]): Files and folders of frames.
            batch_size (int): See :meth:`iterate`, as the next two.
            window (float, optional): Seconds.
            stride (float, optional): Seconds.
            errors (dict[int, str]): Gets the errors, by number of the input.

        Yields:
            dict: What the model takes.
        """

        def read_all() -> Iterator[dict]:
            for number, file in enumerate(
                    progress.track(inputs, description='Inference')):
                try:
                    clips = self._read(file, window, stride)
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
                    message = _first_line(error)
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

    def _read(self, file: str, window: Optional[float],
              stride: Optional[float]) -> Iterator[dict]:
        """Read a video, as one clip or several."""
        info = dict(filename=file, start_index=0, modality='RGB')
        if os.path.isdir(file):
            if window is not None:
                raise ValueError('a folder of images has no frame rate, which '
                                 'windows need; give the video')
            frames = FrameFolder(file, self._frame_template)
            info.update(array=frames, total_frames=len(frames))
            yield self._prepare(self._sample(info))
        elif self._frame_template is not None and os.path.exists(file):
            raise ValueError('the pipeline of the config reads folders of '
                             'frames, not videos; give such a folder')
        elif window is None:
            yield self.pipeline(info)
        else:
            yield from self._read_windows(info, window, stride)

    def _read_windows(self, info: dict, window: float,
                      stride: float) -> Iterator[dict]:
        """Read a video's windows while it is decoded."""
        video = self._open(info)
        if 'avg_fps' not in video:
            raise ValueError('the transform of the config that opens videos '
                             'does not give `avg_fps`, which windows need; '
                             'take SafePyAVInit')
        fps = video['avg_fps']
        windows = split_windows(video['total_frames'], fps, window, stride)
        clips = [
            self._sample(
                dict(video, start_index=start, total_frames=end - start))
            for start, end in windows
        ]
        images = iter_frames(
            self._open, self._decode, video,
            np.unique([x['frame_inds'] for x in clips]).tolist())
        frames = dict()
        for (start, end), clip in zip(windows, clips):
            frames = {i: frames[i] for i in frames if i >= start}
            while clip['frame_inds'].max() not in frames:
                frames.update([next(images)])
            clip = self._prepare(dict(clip, array=frames))
            clip['data_samples'].set_metainfo(
                dict(start=round(start / fps, 3), end=round(end / fps, 3)))
            yield clip

    def postprocess(self,
                    preds: List[ActionDataSample],
                    visualization: None = None,
                    return_datasamples: bool = False,
                    topk: int = 5) -> list:
        """Turn the model's predictions into names and plain numbers.

        Args:
            preds (list[ActionDataSample]): The predictions.
            visualization (None): Unused.
            return_datasamples (bool): Whether to leave them as they are.
            topk (int): Classes to give, at most.

        Returns:
            list: See :meth:`iterate`.
        """
        if return_datasamples:
            return preds
        predictions = []
        for _, clips in groupby(preds, lambda pred: pred.number):
            timeline = []
            for clip in clips:
                scores, labels = clip.pred_score.topk(
                    min(topk, len(self.classes)))
                times = {x: clip.get(x) for x in ('start', 'end') if x in clip}
                best = [
                    dict(label=label, name=self.classes[label], score=score)
                    for label, score in zip(labels.tolist(), scores.tolist())
                ]
                timeline.append(dict(**times, topk=best))
            content = dict(timeline=timeline) if times else timeline[0]
            predictions.append(dict(file=clip.filename, **content))
        return predictions
