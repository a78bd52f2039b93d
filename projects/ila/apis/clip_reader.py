import os
from typing import Iterator, List, Optional, Tuple

import numpy as np
from mmengine.config import Config
from mmengine.dataset import Compose

from ..datasets.frame_folders import FRAME_TEMPLATE, FrameFolder
from ..datasets.transforms.loading import find_reading, iter_frames


def split_windows(num_frames: int, fps: float, window: float,
                  stride: float) -> List[Tuple[int, int]]:
    """Split a video into windows of equal length, in seconds.

    One starts every ``stride`` seconds. The last one, if it would reach beyond
    the end, is moved back to end with the video. A video that is shorter than
    a window is one window.

    Returns:
        list[tuple[int, int]]: First frame of each window and the one after
        its last.

    Raises:
        ValueError: The frame rate is unknown, or a window has fewer than 2
            frames.
    """
    if not 0 < fps < np.inf:
        raise ValueError('the file does not state the frame rate that windows '
                         'need; encode it again')
    length = round(min(window * fps, num_frames))
    if length < 2:
        raise ValueError(f'a window of {window:g} s has fewer than 2 frames '
                         f'at {fps:g} frames per second; take a longer one')
    starts = np.arange(0, num_frames, max(stride * fps, 1))
    starts = np.unique(np.minimum(np.rint(starts), num_frames - length))
    return [(start, start + length) for start in starts.astype(int).tolist()]


class ClipReader:
    """Read videos as the test pipeline of a config does.

    Attributes:
        pipeline (Compose): The test pipeline.
        takes_frames (bool): Whether it reads folders of frames, not videos.

    Raises:
        ValueError: The pipeline opens or decodes no video.
    """

    def __init__(self, cfg: Config) -> None:
        dataset = cfg.get('test_dataloader', dict()).get('dataset', dict())
        steps = list(dataset.get('pipeline', []))
        try:
            opening, decoding = find_reading(steps)
        except ValueError as error:
            raise ValueError(f'`test_dataloader.dataset.pipeline`: {error}')
        self.takes_frames = opening == decoding
        self._template = None
        if self.takes_frames:
            self._template = dataset.get('filename_tmpl', FRAME_TEMPLATE)
        self.pipeline = Compose(steps)
        self._open = Compose([steps[opening]])
        self._decode = Compose([steps[decoding]])
        self._sample = Compose(steps[:opening] + steps[opening + 1:decoding])
        self._prepare = Compose([dict(type='ArrayDecode')] +
                                steps[decoding + 1:])

    def read(self, file: str, window: Optional[float],
             stride: Optional[float]) -> Iterator[dict]:
        """Read a video as one clip, or as one per window.

        Args:
            file (str): The video, or a folder of frames.
            window (float, optional): See :func:`split_windows`, as ``stride``.

        Yields:
            dict: What the pipeline gives. ``start`` and ``end`` of a window,
            in seconds, are among its data sample's meta information.

        Raises:
            OSError: The file cannot be read.
            ValueError: It is no such video.
        """
        info = dict(filename=file, start_index=0, modality='RGB')
        if os.path.isdir(file):
            if window is not None:
                raise ValueError('a folder of images has no frame rate, which '
                                 'windows need; give the video')
            frames = FrameFolder(file, self._template)
            info.update(array=frames, total_frames=len(frames))
            yield self._prepare(self._sample(info))
        elif self.takes_frames and os.path.exists(file):
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
