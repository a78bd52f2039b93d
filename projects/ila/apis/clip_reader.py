import os
from itertools import chain, repeat, takewhile
from typing import Dict, Iterator, List, Optional, Tuple

import numpy as np
from mmengine.config import Config
from mmengine.dataset import Compose

from ..datasets.frame_folders import FRAME_TEMPLATE, FrameFolder
from ..datasets.transforms.loading import (SafeDecordInit, SafePyAVInit,
                                           check_num_frames, find_reading,
                                           iter_frames)
from ..utils.config_arguments import find_name
from ..utils.config_datasets import find_dataset
from .video_inputs import VideoInput, fetch, is_remote

# Transforms that process each image separately, without randomness.
PER_FRAME = ('Resize', 'CenterCrop', 'ThreeCrop', 'TenCrop')


def count_window(window: float, fps: float) -> int:
    """Count the frames of a window, given in seconds.

    Raises:
        ValueError: The frame rate is unknown, or the window has fewer than 2
            frames.
    """
    if not 0 < fps < np.inf:
        raise ValueError('the file does not state the frame rate that windows '
                         'need; encode it again')
    length = round(window * fps)
    if length < 2:
        raise ValueError(f'a window of {window:g} s has fewer than 2 frames '
                         f'at {fps:g} frames per second; take a longer one')
    return length


def split_windows(num_frames: int, fps: float, window: float,
                  stride: float) -> List[Tuple[int, int]]:
    """Split a video into windows of ``window`` seconds.

    A window starts every ``stride`` seconds. If the last one would reach
    beyond the end, it is moved back to end with the video. A video that is
    shorter than a window is one window.

    Returns:
        list[tuple[int, int]]: First frame of each window, and the frame after
        its last one.

    Raises:
        ValueError: See :func:`count_window`.
    """
    length = min(count_window(window, fps), num_frames)
    starts = np.arange(0, num_frames, max(stride * fps, 1))
    starts = np.unique(np.minimum(np.rint(starts), num_frames - length))
    return [(start, start + length) for start in starts.astype(int).tolist()]


def find_even_frames(video: dict) -> np.ndarray:
    """Resample the frames of a video to its average frame rate.

    If the frame rate varies, some frames are left out and others repeated, so
    that indices correspond to times. All frames are kept if their times differ
    from the average rate by at most one frame.

    Args:
        video (dict): An opened video: ``total_frames``, ``avg_fps`` and
            ``video_reader``, which may have ``times``.

    Returns:
        np.ndarray: Indices of frames, one for every ``1 / avg_fps`` seconds.
    """
    fps, times = video['avg_fps'], getattr(video['video_reader'], 'times',
                                           None)
    frames = np.arange(video['total_frames'])
    if (times is None or not 0 < fps < np.inf
            or np.abs(times * fps - frames).max() <= 1):
        return frames
    middles = np.arange(round(times[-1] * fps) + 1) + 0.5
    return np.searchsorted(times, middles / fps, side='right') - 1


class ClipReader:
    """Read videos with the test pipeline of a config.

    Attributes:
        pipeline (Compose): The test pipeline.
        takes_frames (bool): Whether it reads folders of frames, not videos.
        keeps_frames (bool): Whether the images of a clip are its frames,
            prepared separately and in the order of ``frame_inds``.

    Raises:
        ValueError: The pipeline does not open or decode videos.
    """

    def __init__(self, cfg: Config) -> None:
        dataset = find_dataset(cfg, 'test')
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
        steps = steps[decoding + 1:]
        kinds = [find_name(step['type']) for step in steps]
        own = len([*takewhile(PER_FRAME.__contains__, kinds)])
        self.keeps_frames = kinds[own:] == ['FormatShape', 'PackActionInputs']
        to_array = dict(type='ArrayDecode')
        self._prepare = Compose([to_array] + steps)
        self._prepare_frame = Compose([to_array] + steps[:own])
        self._pack = Compose(steps[own:])

    def _begin(self, video: VideoInput) -> dict:
        """Make the input of the pipeline, with all frames as ``array`` if they
        are not in a file."""
        info = dict(filename=video.name, start_index=0, modality='RGB')
        data = video.data
        if data is None and is_remote(video.name):
            data = fetch(video.name)
        if data is None and os.path.isdir(video.name):
            data = FrameFolder(video.name, self._template)
        if isinstance(data, (np.ndarray, FrameFolder)):
            check_num_frames(len(data))
            info.update(array=data, total_frames=len(data))
        elif self.takes_frames and (data is not None
                                    or os.path.exists(video.name)):
            raise ValueError('the pipeline of the config reads folders of '
                             'frames, not videos; give such a folder')
        elif data is not None:
            if not isinstance(self._open.transforms[0],
                              (SafePyAVInit, SafeDecordInit)):
                raise ValueError(
                    'the transform of the config that opens videos reads '
                    'files only; give a path, or take SafePyAVInit')
            info['content'] = data
        return info

    def _begin_file(self, info: dict) -> dict:
        """Open a video whose frame rate is needed."""
        video = self._open(info)
        if 'avg_fps' not in video:
            raise ValueError('the transform of the config that opens videos '
                             'does not give `avg_fps`, which windows need; '
                             'take SafePyAVInit')
        return video

    def read(self, video: VideoInput, window: Optional[float],
             stride: Optional[float]) -> Iterator[dict]:
        """Read a video as one clip, or as one clip per window.

        Args:
            video (VideoInput): The video, or a folder of frames.
            window (float, optional): See :func:`split_windows`.
            stride (float, optional): See :func:`split_windows`.

        Yields:
            dict: Output of the pipeline. The data sample of a window has
            ``start`` and ``end``, in seconds, as meta information.

        Raises:
            OSError: The file cannot be read.
            ValueError: The pipeline cannot read this video.
        """
        info = self._begin(video)
        if 'array' in info:
            if window is not None:
                raise ValueError('frames without a file have no frame rate, '
                                 'which windows need; give the video')
            yield self._prepare(self._sample(info))
        elif window is None:
            yield self.pipeline(info)
        else:
            yield from self._read_windows(info, window, stride)

    def _read_windows(self, info: dict, window: float,
                      stride: float) -> Iterator[dict]:
        """Read a video's windows while it is decoded."""
        video = self._begin_file(info)
        fps = video['avg_fps']
        even = find_even_frames(video)
        windows = split_windows(len(even), fps, window, stride)
        clips = [self.sample(start, end, video) for start, end in windows]
        for clip in clips:
            clip['frame_inds'] = even[clip['frame_inds']]
        images = iter_frames(
            self._open, self._decode, video,
            np.unique([x['frame_inds'] for x in clips]).tolist())
        frames = dict()
        for (start, end), clip in zip(windows, clips):
            frames = {i: frames[i] for i in frames if i >= even[start]}
            while clip['frame_inds'].max() not in frames:
                index, image = next(images)
                frames[index] = self.prepare_frame(image)
            yield self.pack(clip, frames, start / fps, end / fps)

    def read_all(
            self,
            video: VideoInput) -> Tuple[Optional[float], Iterator[np.ndarray]]:
        """Read all frames, without the rest of the pipeline.

        Returns:
            tuple[float | None, Iterator[np.ndarray]]: Frames per second, or
            None if the frames are not in a file, and frames ``(H, W, 3)``,
            see :func:`find_even_frames`.
        """
        info = self._begin(video)
        if 'array' in info:
            frames = info['array']
            return None, (frames[index] for index in range(len(frames)))
        opened = self._begin_file(info)
        numbers, counts = np.unique(
            find_even_frames(opened), return_counts=True)
        frames = iter_frames(self._open, self._decode, opened,
                             numbers.tolist())
        return opened['avg_fps'], chain.from_iterable(
            repeat(frame, count) for (_, frame), count in zip(frames, counts))

    def sample(self, start: int, end: int, video: dict = dict()) -> dict:
        """Sample the frames of a window: ``frame_inds``."""
        return self._sample({
            'modality': 'RGB',
            **video, 'start_index': start,
            'total_frames': end - start
        })

    def prepare_frame(self, frame: np.ndarray) -> dict:
        """Run the transforms that process a decoded frame separately."""
        return self._prepare_frame(
            dict(modality='RGB', array=frame[None], frame_inds=np.array([0])))

    def pack(self, clip: dict, frames: Dict[int, dict], start: float,
             end: float) -> dict:
        """Make a clip of prepared frames.

        Args:
            clip (dict): From :meth:`sample`.
            frames (dict[int, dict]): From :meth:`prepare_frame`.
            start (float): Start of the window, in seconds.
            end (float): End of the window, in seconds.
        """
        parts = [frames[index] for index in clip['frame_inds'].tolist()]
        # A clip has all frames of the first crop, then of the next.
        images = [
            image for crop in zip(*(part['imgs'] for part in parts))
            for image in crop
        ]
        sample = self._pack({**parts[0], **clip, 'imgs': images})
        sample['data_samples'].set_metainfo(
            dict(start=round(start, 3), end=round(end, 3)))
        return sample
