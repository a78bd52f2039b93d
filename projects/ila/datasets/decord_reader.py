"""Frames of video files as decord reads them."""
import io
import re
from typing import Any, Iterable, Iterator, Tuple, Union

import numpy as np

from .video_file import open_container
from .video_reader import choose_rate


class DecordReader:
    """Frames of a video by their index, read from its start without seeking.

    Decord 0.6 seeks to wrong frames or never comes back where time stamps are
    missing, not in order or changed by an edit list. Where a truncated file's
    index points beyond the end it reads outside of its buffer, and it fills
    in frames that it cannot decode with the last one. It opens whatever a
    playlist names. So files are checked first, by FFmpeg.

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
        # shown. Those without a time stamp lie 1e14 seconds before zero.
        times = times[(times >= 0) | (times < -1e9)]
        self._num_frames = len(times)
        self.times, seconds = None, 0.
        if len(times) and times.min() >= 0:
            self.times = np.sort(times) - times.min()
            seconds = float(self.times[-1])
        self.fps = choose_rate(reader.get_avg_fps(), len(times), seconds)

    def _open(self) -> Any:
        # Its libraries may take the place of PyAV's: not before it is needed.
        import decord
        try:
            # Decord takes a tolerance of exactly 0 for an unlimited one.
            return decord.VideoReader(
                io.BytesIO(self._content),
                num_threads=self._num_threads,
                fault_tol=1e-4)
        except Exception as error:  # Its errors have no class in common.
            raise self._refuse(error) from error

    @staticmethod
    def _refuse(error: Union[str, Exception]) -> ValueError:
        # Decord names the place in its source where it stopped.
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
        """Decode frames, as :meth:`VideoReader.iter_frames` does."""
        wanted = set(indices)
        for index, frame in enumerate(
                self._decode(max(wanted, default=0) + 1)):
            if index not in wanted:
                continue
            frame = frame.asnumpy()
            # Decord takes padded lines of some narrow videos for a fourth
            # channel.
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
