"""Copies of videos that take little time to decode."""
import os
import signal
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Dict, Iterator, NamedTuple, Sequence

import av
import cv2
import numpy as np

from ..utils.atomic_file import replacing
from .search import list_videos
from .transforms.loading import check_num_frames
from .video_file import check_regular
from .video_reader import VideoReader
from .video_writer import write_video

# Containers for H.264 in which the reader finds groups of pictures.
_KEPT_SUFFIXES = ('.mp4', '.m4v', '.mov', '.mkv')


class Settings(NamedTuple):
    """How videos are encoded.

    Attributes:
        short_side (int): Short side in pixels; smaller videos are not scaled.
        gop (int): Frames from one key frame to the next.
        crf (int): Quality of x264; 0 is the best.
    """
    short_side: int = 256
    gop: int = 12
    crf: int = 20


def plan(source: str, target: str) -> Dict[str, str]:
    """Choose the path of the copy of each video in a folder.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: It holds no video, two videos would have the same copy, or
            the copies would be among the videos.
    """
    if Path(source).resolve() in Path(target, 'copy').resolve().parents:
        raise ValueError(f"'{target}' is within '{source}', whose videos it "
                         'would join; choose another folder')
    copies = {}
    for path in list_videos(source):
        copy = Path(target, os.path.relpath(path, source))
        if copy.suffix.lower() not in _KEPT_SUFFIXES:
            copy = copy.with_suffix('.mp4')
        other = copies.setdefault(str(copy), path)
        if other != path:
            raise ValueError(f"'{other}' and '{path}' would both become "
                             f"'{copy}'; rename one of them")
    return {path: copy for copy, path in copies.items()}


def resize_video(path: str, copy: str, settings: Settings) -> str:
    """Write a copy of a video, unless it exists.

    The copy has the same frames, at their average rate.

    Returns:
        str: Why the video cannot be copied; empty on success.
    """
    if os.path.exists(copy):
        return ''
    try:
        check_regular(path)
        reader = VideoReader(Path(path).read_bytes())
        check_num_frames(len(reader))
        os.makedirs(os.path.dirname(copy), exist_ok=True)
        with replacing(copy) as partial:
            write_video(
                Path(partial),
                _scale(reader, settings.short_side),
                reader.fps or 25,
                format='matroska' if copy.lower().endswith('.mkv') else 'mp4',
                g=str(settings.gop),
                crf=str(settings.crf),
                tune='fastdecode',
                threads='1')
    except (OSError, ValueError, MemoryError, av.FFmpegError) as error:
        return ' '.join(str(error).split()) or type(error).__name__
    return ''


def _scale(reader: VideoReader, short_side: int) -> Iterator[np.ndarray]:
    for _, image in reader.iter_frames(range(len(reader))):
        height, width = image.shape[:2]
        scale = min(1, short_side / min(height, width))
        if scale < 1:
            # Even sides, so that the encoder cuts nothing off.
            size = [max(2, round(x * scale / 2) * 2) for x in (width, height)]
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        yield image


def resize_videos(copies: Dict[str, str], settings: Settings,
                  workers: int) -> Iterator[Sequence[str]]:
    """Write copies in several processes.

    Args:
        copies (dict[str, str]): See :func:`plan`.
        settings (Settings): Settings of the encoder.
        workers (int): Number of processes.

    Yields:
        tuple[str, str]: A video, and why it cannot be copied, see
        :func:`resize_video`.

    Raises:
        ValueError: A video crashes the process that reads it.
    """
    # Ctrl+C reaches all processes; they finish the videos in progress.
    with ProcessPoolExecutor(
            workers,
            get_context('fork'),
            initializer=signal.signal,
            initargs=(signal.SIGINT, signal.SIG_IGN)) as pool:
        function = partial(resize_video, settings=settings)
        try:
            yield from zip(copies, pool.map(function, copies, copies.values()))
        except BrokenProcessPool:
            raise ValueError(
                'a process ended within a video; find it with '
                'tools/data/check_videos.py, remove it and run this tool '
                'again, which goes on with the others') from None
