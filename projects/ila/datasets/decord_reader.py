"""Frames of video files as decord reads them."""
import io
import re
from typing import Any, Iterable, Iterator, Tuple, Union

import numpy as np

from .video_file import open_container
from .video_reader import choose_rate


class DecordReader:
    """Frames of a video by their index, read from its start without seeking.

    Decord 0.6 seeks to wrong frames, or hangs, if time stamps are missing,
    out of order or changed by an edit list. If the index of a truncated file
    points beyond its end, decord reads outside of its buffer. It replaces
    frames that it cannot decode with the last one, and opens any file that a
    playlist names. So files are first checked with FFmpeg.

    Args:
        content (bytes): The file.
        num_threads (int): Threads to decode with.

    Raises:
        ValueError: Decord cannot read the file.
    """

    def __init__(self, content: bytes, num_threads: int = 1) -> None:
        open_container(content).close()
        self._content = content
        self._num_threads = num_threads
        reader = self._open()
        if not len(reader):
            raise self._refuse('it finds no frames')
        times = reader.get_frame_timestamp(range(len(reader)))[:, 0]
        # Frames before an edit list's start are needed for decoding but not
        # shown. Frames without a time stamp get -1e14 seconds.
        times = times[(times >= 0) | (times < -1e9)]
        self._num_frames = len(times)
        self.times, seconds = None, 0.
        if len(times) and times.min() >= 0:
            self.times = np.sort(times) - times.min()
            seconds = float(self.times[-1])
        self.fps = choose_rate(reader.get_avg_fps(), len(times), seconds)

    def _open(self) -> Any:
        # Import late: its libraries may replace those of PyAV.
        import decord
        try:
            # Decord treats a tolerance of exactly 0 as unlimited.
            return decord.VideoReader(
                io.BytesIO(self._content),
                num_threads=self._num_threads,
                fault_tol=1e-4)
        except Exception as error:  # Its errors have no common class.
            raise self._refuse(error) from error

    @staticmethod
    def _refuse(error: Union[str, Exception]) -> ValueError:
        # Remove the position in decord's source code.
        reason = ' '.join(
            re.sub(r'\[[\d:]+\] \S+:\d+: ', '', str(error)).split())
        return ValueError(f'decord cannot read the file ({reason}); it may be '
                          'damaged, or of a kind that SafePyAVInit reads')

    def __len__(self) -> int:
        return self._num_frames

    def _decode(self, number: int) -> Iterator[Any]:
        """Decode the first frames."""
        reader = self._open()
        try:
            for _ in range(number):
                yield reader.next()
        except Exception as error:
            raise self._refuse(error) from error

    def iter_frames(
            self, indices: Iterable[int]) -> Iterator[Tuple[int, np.ndarray]]:
        """Decode frames, see :meth:`VideoReader.iter_frames`."""
        wanted = set(indices)
        for index, frame in enumerate(
                self._decode(max(wanted, default=0) + 1)):
            if index not in wanted:
                continue
            frame = frame.asnumpy()
            # In some narrow videos, decord mistakes the padding of lines for
            # a fourth channel.
            if frame.shape[-1] != 3:
                raise ValueError(
                    f'decord misreads a width of {frame.shape[1]} pixels; '
                    'read it with SafePyAVInit')
            yield index, frame

    def check(self) -> None:
        """Decode all frames.

        Raises:
            ValueError: One cannot be decoded.
        """
        for _ in self._decode(len(self)):
            pass
