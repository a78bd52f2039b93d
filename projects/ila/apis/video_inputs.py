"""Inputs that can be given as videos."""
import io
import os
import string
import time
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, Iterable, List, Optional, Sequence, Union
from urllib.error import URLError
from urllib.parse import quote, urlparse
from urllib.request import url2pathname, urlopen

import numpy as np
from torch import Tensor

from ..datasets.search import VIDEO_SUFFIXES, find_videos

STREAMS = ('rtsp://', 'rtsps://', 'rtmp://', 'rtp://', 'udp://', 'srt://')
# A download fails after so many seconds with fewer bytes than these.
TIMEOUT, MIN_BYTES = 30, 2**14
# A URL may lead to a stream without end.
MAX_BYTES = 2**31


@dataclass(eq=False)
class VideoInput:
    """A video to be read.

    Attributes:
        name (str): Its path or URL; or, for instance, ``'array 2'``, with its
            position among the inputs, from 0.
        data (bytes | np.ndarray, optional): The content of its file, or its
            frames, ``(T, H, W, 3)``.
    """
    name: str
    data: Optional[Union[bytes, np.ndarray]] = None


CONTENTS = bytes, bytearray, memoryview
PathType = Union[str, Path]
InputType = Union[PathType, bytes, np.ndarray, Tensor, VideoInput]
InputsType = Union[InputType, Sequence[InputType]]
# Types of a single input. Open files are here so that they are refused:
# otherwise each of their lines would be an input.
SINGLE = (str, int, os.PathLike, *CONTENTS, np.ndarray, Tensor, VideoInput,
          io.IOBase)


def is_live(source: Any) -> bool:
    """Whether a source is the number of a camera or a stream's URL."""
    text = str(source)
    if isinstance(source, str) and os.path.exists(text):
        return False
    is_url = '://' in text and not text.lower().startswith('file://')
    return isinstance(source, (str, int)) and (text.isdecimal() or is_url)


def is_remote(name: str) -> bool:
    """Whether a name is the URL of a file to be downloaded."""
    return name.lower().startswith(('http://', 'https://'))


def check_frames(frames: Union[np.ndarray, Tensor],
                 layout: str = '(T, H, W, 3)') -> np.ndarray:
    """Raise a ValueError if frames have another layout or type."""
    given = type(frames).__name__
    kind, shape = '', ()
    if isinstance(frames, (np.ndarray, Tensor)):
        kind, shape = str(frames.dtype).removeprefix('torch.'), frames.shape
        given = f'{kind} {tuple(shape)}'
    if (kind != 'uint8' or len(shape) != layout.count(',') + 1
            or shape[-1] != 3 or 0 in shape[-3:]):
        raise ValueError(f'frames must be uint8 {layout} in RGB, from 0 to '
                         f'255, got {given}; convert them')
    # Types of PyTorch that NumPy lacks were refused above.
    return frames if isinstance(frames, np.ndarray) else frames.cpu().numpy()


def fetch(url: str) -> bytes:
    """Download a file; MMEngine would wait forever.

    Raises:
        ValueError: It cannot be fetched.
    """
    try:
        # Quote spaces and characters beyond ASCII, as browsers do.
        with urlopen(
                quote(url, safe=string.punctuation),
                timeout=TIMEOUT) as response:
            return _read(response)
    except (OSError, ValueError, HTTPException) as error:
        reason = error.reason if type(error) is URLError else error
        raise ValueError(
            f'the URL cannot be fetched ({reason}); fix it, or download '
            'the file and give its path') from None


def _read(response: HTTPResponse) -> bytes:
    """Read a response; raise an OSError if it is not a whole file."""
    if response.headers.get_content_maintype() == 'multipart':
        raise OSError('it is a camera, which does not end and is for `stream` '
                      'or --stream')
    size, content = response.length, bytearray()
    deadline, due = time.monotonic() + TIMEOUT, MIN_BYTES
    while len(content) != size:
        if max(size or 0, len(content)) > MAX_BYTES:
            raise OSError(f'it has more than {MAX_BYTES >> 30} GiB')
        part = response.read1(2**20)
        content += part
        if not part and size is None:
            break
        if not part:
            raise OSError(f'{size - len(content)} bytes are missing')
        if time.monotonic() > deadline:
            if len(content) < due:
                raise OSError(f'fewer than {MIN_BYTES} bytes came within '
                              f'{TIMEOUT} seconds')
            deadline = time.monotonic() + TIMEOUT
            due = len(content) + MIN_BYTES
    return bytes(content)


def _find(path: str, prefer_frames: bool) -> List[VideoInput]:
    """Find the videos of a path or a URL."""
    if path.lower().startswith('file://'):
        path = url2pathname(urlparse(path).path)
    is_camera = path.isdecimal() and not os.path.exists(path)
    if is_camera or path.lower().startswith(STREAMS):
        raise ValueError(f"'{path}' is a camera or a stream, which does not "
                         'end; give it to `stream` (--stream)')
    if '://' in path:  # Not a web address: for the config's storage.
        return [VideoInput(path)]
    return [VideoInput(video) for video in find_videos(path, prefer_frames)]


def list_inputs(inputs: InputsType,
                prefer_frames: bool = False) -> List[VideoInput]:
    """List the videos of all inputs; missing files are kept as entries.

    Args:
        inputs (InputsType): One or a sequence of: paths, see
            :func:`find_videos`; URLs, ``http(s)://`` or ``file://``;
            the bytes of a file; arrays or tensors of frames
            ``(T, H, W, 3)``, uint8, RGB.
        prefer_frames (bool): See :func:`find_videos`.

    Raises:
        FileNotFoundError: There are no videos at all.
        ValueError: An input is of another kind.
    """
    if isinstance(inputs, SINGLE) or not isinstance(inputs, Iterable):
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
        elif isinstance(item, CONTENTS):
            videos.append(VideoInput(f'bytes {number}', bytes(item)))
        else:
            try:
                videos.append(
                    VideoInput(f'array {number}', check_frames(item)))
            except ValueError as error:
                raise ValueError(f'input {number}: {error}') from None
    if len(missing) == len(videos):
        raise FileNotFoundError(
            f"no video found at '{', '.join(missing)}'; give files, "
            f'folders or patterns of {", ".join(VIDEO_SUFFIXES)} or '
            'folders of images')
    return videos
