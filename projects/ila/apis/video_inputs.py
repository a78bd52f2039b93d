"""What can be given as a video."""
import os
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, List, Optional, Sequence, Union
from urllib.error import URLError
from urllib.parse import urlparse
from urllib.request import url2pathname, urlopen

import numpy as np
from torch import Tensor

from ..datasets.search import VIDEO_SUFFIXES, find_videos

STREAMS = ('rtsp://', 'rtsps://', 'rtmp://', 'rtp://', 'udp://', 'srt://')
# Seconds without any answer.
TIMEOUT = 30
# An address may be that of a stream without end.
MAX_BYTES = 2**31


@dataclass(eq=False)
class VideoInput:
    """A video that is to be read.

    Attributes:
        name (str): Its path or address, or for instance ``'array 2'``, its
            place among the inputs from 0 on.
        data (bytes | np.ndarray, optional): The content of its file, or its
            frames, ``(T, H, W, 3)``.
    """
    name: str
    data: Optional[Union[bytes, np.ndarray]] = None


PathType = Union[str, Path]
InputType = Union[PathType, bytes, np.ndarray, Tensor, VideoInput]
InputsType = Union[InputType, Sequence[InputType]]


def is_live(source: Any) -> bool:
    """Whether a source is the number of a camera or a stream's address."""
    text = str(source)
    if isinstance(source, str) and os.path.exists(text):
        return False
    is_address = '://' in text and not text.lower().startswith('file://')
    return isinstance(source, (str, int)) and (text.isdecimal() or is_address)


def is_remote(name: str) -> bool:
    """Whether a name is the address of a file to be downloaded."""
    return name.lower().startswith(('http://', 'https://'))


def check_frames(frames: Union[np.ndarray, Tensor],
                 layout: str = '(T, H, W, 3)') -> np.ndarray:
    """Refuse frames of another layout or type with a ValueError."""
    if isinstance(frames, Tensor):
        frames = frames.detach().cpu().numpy()
    expected = layout.count(',') + 1
    if (not isinstance(frames, np.ndarray) or frames.dtype != np.uint8
            or frames.ndim != expected or frames.shape[-1] != 3):
        given = type(frames).__name__
        if isinstance(frames, np.ndarray):
            given = f'{frames.dtype} {frames.shape}'
        raise ValueError(f'frames must be uint8 {layout} in RGB, from 0 to '
                         f'255, got {given}; convert them')
    return frames


def fetch(address: str) -> bytes:
    """Download a file; MMEngine would wait forever.

    Raises:
        ValueError: It cannot be fetched.
    """
    try:
        with urlopen(address, timeout=TIMEOUT) as response:
            content = response.read(MAX_BYTES + 1)
            if response.length:
                raise OSError(f'{response.length} bytes are missing')
    except (OSError, ValueError, HTTPException) as error:
        reason = error.reason if type(error) is URLError else error
        raise ValueError(
            f'the address cannot be fetched ({reason}); fix it, or download '
            'the file and give its path') from None
    if len(content) > MAX_BYTES:
        raise ValueError(f'the file has more than {MAX_BYTES >> 30} GiB; '
                         'download it and give its path')
    return content


def _find(path: str, prefer_frames: bool) -> List[VideoInput]:
    """Find the videos of a path or an address."""
    if path.lower().startswith('file://'):
        path = url2pathname(urlparse(path).path)
    is_camera = path.isdecimal() and not os.path.exists(path)
    if is_camera or path.lower().startswith(STREAMS):
        raise ValueError(f"'{path}' is a camera or a stream, which does not "
                         'end; give it to `stream` (--stream)')
    if '://' in path:  # For the config's storage if it is no web address.
        return [VideoInput(path)]
    return [VideoInput(video) for video in find_videos(path, prefer_frames)]


def list_inputs(inputs: InputsType,
                prefer_frames: bool = False) -> List[VideoInput]:
    """List the videos of all inputs; missing files stay in their place.

    Args:
        inputs (InputsType): One or a sequence of: paths, see
            :func:`find_videos`; addresses, ``http(s)://`` or ``file://``;
            the bytes of a file; arrays or tensors of frames
            ``(T, H, W, 3)``, uint8, RGB.
        prefer_frames (bool): See :func:`find_videos`.

    Raises:
        FileNotFoundError: There are no videos at all.
        ValueError: An input is of another kind.
    """
    single = str, int, bytes, os.PathLike, np.ndarray, Tensor, VideoInput
    if isinstance(inputs, single):
        inputs = [inputs]
    videos: List[VideoInput] = []
    missing: List[str] = []
    for number, item in enumerate(inputs):
        if isinstance(item, VideoInput):
            videos.append(item)
        elif isinstance(item, (str, int, os.PathLike)):
            path = str(item) if isinstance(item, int) else os.fspath(item)
            found = _find(path, prefer_frames)
            videos += found or [VideoInput(path)]
            missing += [] if found else [path]
        elif isinstance(item, bytes):
            videos.append(VideoInput(f'bytes {number}', item))
        else:
            try:
                videos.append(
                    VideoInput(f'array {number}', check_frames(item)))
            except ValueError as error:
                raise ValueError(f'input {number}: {error}') from None
    if len(missing) == len(videos):
        raise FileNotFoundError(
            f"there are no videos in '{', '.join(missing)}'; give files, "
            f'folders or patterns of {", ".join(VIDEO_SUFFIXES)} or '
            'folders of images')
    return videos
