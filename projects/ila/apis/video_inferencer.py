from itertools import chain, groupby
from numbers import Integral
from typing import Callable, Dict, Iterator, List, Optional

import numpy as np
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.infer.infer import BaseInferencer
from rich.console import Console
from rich.progress import Progress

from mmaction.structures import ActionDataSample
from ..utils import explaining_builds
from .clip_reader import ClipReader
from .predictions import check_scores
from .video_inputs import InputsType, VideoInput, list_inputs


class VideoInferencer(BaseInferencer):
    """Run a model on videos, or windows of them, read by a config's test
    pipeline.

    If a video fails, the others are still processed.
    """

    def _init_pipeline(self, cfg: Config) -> Compose:
        with explaining_builds():
            self.reader = ClipReader(cfg)
        return self.reader.pipeline

    def _init_visualizer(self, cfg: Config) -> None:
        """Nothing is drawn."""

    def visualize(self, inputs: list, preds: list, **kwargs) -> None:
        """Nothing is drawn."""

    def list_videos(self, inputs: InputsType) -> List[VideoInput]:
        """List the videos, see :func:`list_inputs`."""
        return list_inputs(inputs, self.reader.takes_frames)

    def run(self,
            videos: List[VideoInput],
            forward: Callable[[dict], List[ActionDataSample]],
            key: str,
            batch_size: int = 1,
            window: Optional[float] = None,
            stride: Optional[float] = None) -> Iterator[dict]:
        """Run a part of the model on videos, one after the other.

        Args:
            videos (list[VideoInput]): From :meth:`list_videos`.
            forward (Callable): Takes a batch, and returns its data samples
                with the results.
            key (str): Name of the result in a data sample.
            batch_size (int): Number of videos or windows, each with all its
                views, in a batch.
            window (float, optional): See :func:`split_windows`.
            stride (float, optional): See :func:`split_windows`. Defaults to
                ``window``.

        Yields:
            dict: ``number``, ``file`` and either ``clips``, the data samples
            of the video or its windows, or ``error``.

        Raises:
            ValueError: An argument is out of its range.
        """
        if window is None and stride is not None:
            raise ValueError('stride needs a window, in seconds too')
        stride = window if stride is None else stride
        check_count('batch_size', batch_size)
        for name in ('window', 'stride'):
            check_positive(name, locals()[name])
        errors, num_told, clips = dict(), 0, []
        batches = self.preprocess(videos, batch_size, window, stride, errors)
        for batch in chain(batches, [None]):
            for clip in self._forward(batch, forward, key,
                                      errors) if batch else []:
                if clips and clips[0].number != clip.number:
                    clips = []  # The video failed after its first windows.
                clips.append(clip)
                if clip.is_last:
                    number = clip.number
                    if number not in errors:
                        yield dict(
                            number=number,
                            file=videos[number].name,
                            clips=clips)
                    clips = []
            for number in list(errors)[num_told:]:
                yield dict(
                    number=number,
                    file=videos[number].name,
                    error=errors[number])
            num_told = len(errors)

    @staticmethod
    def _forward(batch: dict, forward: Callable, key: str,
                 errors: Dict[int, str]) -> List[ActionDataSample]:
        """Run the model on a batch, and record the errors of its videos."""
        samples, error = batch['data_samples'], None
        try:
            samples = forward(batch)
        except ValueError as failure:  # The model does not accept their size.
            error = failure
        for sample in samples:
            try:
                if error is not None:
                    raise error
                check_scores(sample.get(key))
            except ValueError as failure:
                errors.setdefault(sample.number, str(failure))
        return samples

    def preprocess(self, inputs: List[VideoInput], batch_size: int,
                   window: Optional[float], stride: Optional[float],
                   errors: Dict[int, str]) -> Iterator[dict]:
        """Read videos, and make batches of consecutive clips of one size.

        Errors are added to ``errors``, by number of the input.
        """

        def read_all() -> Iterator[dict]:
            for number, video in enumerate(
                    progress.track(inputs, description='Inference')):
                try:
                    clips = self.reader.read(video, window, stride)
                    clip = next(clips)
                    while clip:
                        following = next(clips, None)
                        clip['data_samples'].set_metainfo(
                            dict(
                                number=number,
                                filename=video.name,
                                is_last=following is None))
                        yield clip
                        clip = following
                except Exception as error:  # Its type depends on the file.
                    message = str(error).strip().split('\n')[0]
                    if not isinstance(error, (OSError, ValueError)):
                        message = f'{type(error).__name__}: {message}'
                    errors[number] = message

        # Keep the caller's stdout out of the progress bar's console.
        with Progress(
                console=Console(stderr=True),
                redirect_stdout=False,
                disable=not self.show_progress) as progress:
            for _, clips in groupby(read_all(),
                                    lambda clip: clip['inputs'].shape):
                yield from map(self.collate_fn,
                               self._get_chunk_data(clips, batch_size))


def check_positive(name: str, value: Optional[float]) -> None:
    """Refuse an argument that is not more than 0; None means not given."""
    if value is not None and not 0 < value < np.inf:
        raise ValueError(f'{name} must be more than 0, got {value}')


def check_count(name: str, value: int) -> None:
    """Refuse an argument that is not a whole number above 0."""
    if not isinstance(value, Integral) or value < 1:
        raise ValueError(f'{name} must be a whole number above 0, got {value}')
