from typing import Callable, Dict, Iterable, Iterator, Sequence, Tuple

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.fileio import FileClient

from mmaction.registry import TRANSFORMS
from ...utils.config_arguments import find_name
from ..decord_reader import DecordReader
from ..video_file import ShortVideoError, read_file
from ..video_reader import VideoReader


def check_num_frames(num_frames: int) -> None:
    """Refuse videos without a pair of frames, which ILA aligns."""
    if num_frames < 2:
        raise ShortVideoError('at least two frames are needed, the video has '
                              f'only {num_frames}; give a longer one')


def find_reading(pipeline: Sequence[dict]) -> Tuple[int, int]:
    """Find the steps of a pipeline that open and decode a video.

    Returns:
        tuple[int, int]: Their indices; twice the same index if the pipeline
        decodes folders of frames, which need no opening.

    Raises:
        ValueError: There are none, or several.
    """
    kinds = [find_name(step['type']) for step in pipeline]
    places = [
        place for place, kind in enumerate(kinds)
        if kind.endswith(('Init', 'Decode'))
    ]
    if [kinds[place] for place in places] == ['RawFrameDecode']:
        places *= 2
    if len(places) != 2:
        raise ValueError('it needs one transform that opens and one that '
                         'decodes a video, or RawFrameDecode for folders of '
                         f'frames, but it has {kinds}; fix the config')
    return tuple(places)


def iter_frames(opening: Callable, decoding: Callable, video: dict,
                indices: Iterable[int]) -> Iterator[Tuple[int, np.ndarray]]:
    """Decode frames one after the other with the transforms of a pipeline.

    Args:
        opening (Callable): The transform that opens videos.
        decoding (Callable): The transform that decodes them.
        video (dict): Result of ``opening``.
        indices (Iterable[int]): Indices of the frames.

    Yields:
        tuple[int, np.ndarray]: Each index once, in order, and its frame.
    """
    if isinstance(video['video_reader'], (VideoReader, DecordReader)):
        yield from video['video_reader'].iter_frames(indices)
        return
    indices = sorted(set(indices))
    for start in range(0, len(indices), 32):
        chunk = indices[start:start + 32]
        # Readers of MMAction2 can be read only once.
        opened = opening(dict(video))
        images = decoding(dict(opened, frame_inds=np.array(chunk)))['imgs']
        yield from zip(chunk, images)


class _Init(BaseTransform):
    """Open a video in any of MMEngine's storages.

    Args:
        io_backend (str): Storage backend of the videos.
        num_threads (int): Threads to decode a video with.
        **kwargs: Arguments of the file client.
    """
    reader_type = None

    def __init__(self,
                 io_backend: str = 'disk',
                 num_threads: int = 1,
                 **kwargs) -> None:
        self.io_backend = io_backend
        self.num_threads = num_threads
        self.kwargs = kwargs
        self.file_client = None

    def transform(self, results: Dict) -> Dict:
        """Open the file ``filename``, or the bytes of a file in ``content``.

        Adds ``video_reader``, ``total_frames`` and ``avg_fps``, the frames per
        second, 0 if unknown, to the results.

        Raises:
            OSError: The file cannot be fetched.
            ValueError: The file is not a readable video, or has fewer than 2
                frames.
        """
        content = results.pop('content', None)
        if content is None:
            if self.file_client is None:
                self.file_client = FileClient(self.io_backend, **self.kwargs)
            content = read_file(self.file_client, results['filename'])
        reader = self.reader_type(content, self.num_threads)
        if not len(reader):
            raise ValueError('none of its frames can be decoded: the file is '
                             'damaged, or they are in another file; replace '
                             'it')
        check_num_frames(len(reader))
        results['video_reader'] = reader
        results['total_frames'] = len(reader)
        results['avg_fps'] = reader.fps
        return results

    def __repr__(self) -> str:
        return (f'{type(self).__name__}(io_backend={self.io_backend}, '
                f'num_threads={self.num_threads})')


class _Decode(BaseTransform):
    """Decode the frames of an opened video, each of them once."""

    def transform(self, results: Dict) -> Dict:
        """Decode ``frame_inds`` of ``video_reader`` into ``imgs``.

        Images are ``(H, W, 3)``, uint8, RGB.

        Raises:
            ValueError: A wanted frame is damaged or missing.
        """
        indices = np.ravel(results['frame_inds']).tolist()
        images = dict(results.pop('video_reader').iter_frames(indices))
        results['imgs'] = [images[index] for index in indices]
        results['original_shape'] = results['imgs'][0].shape[:2]
        results['img_shape'] = results['imgs'][0].shape[:2]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'


@TRANSFORMS.register_module()
class SafePyAVInit(_Init):
    __doc__ = _Init.__doc__
    reader_type = VideoReader


@TRANSFORMS.register_module()
class SafePyAVDecode(_Decode):
    __doc__ = _Decode.__doc__


@TRANSFORMS.register_module()
class SafeDecordInit(_Init):
    __doc__ = _Init.__doc__
    reader_type = DecordReader


@TRANSFORMS.register_module()
class SafeDecordDecode(_Decode):
    __doc__ = _Decode.__doc__
