import io
import os.path as osp
from typing import Any, Dict, List

import numpy as np
from mmengine.fileio import FileClient

from mmaction.datasets.transforms import DecordDecode, DecordInit
from mmaction.registry import TRANSFORMS


def declared_size(content: bytes) -> int:
    """Read off a video's headers how long the file has to be.

    Args:
        content (bytes): A file, whole or truncated.

    Returns:
        int: Bytes up to the end of the last part that the headers tell of in
        MP4, MOV, AVI, WebM and Matroska files; 0 where they tell nothing.
    """
    # MP4 and MOV, a list of boxes.
    if content[4:8] in (b'ftyp', b'moov', b'mdat', b'wide'):
        end = 0
        while end + 8 <= len(content):
            size, kind = content[end:end + 4], content[end + 4:end + 8]
            size = int.from_bytes(size, 'big')
            if size == 1:
                size = int.from_bytes(content[end + 8:end + 16], 'big')
            # A last box may reach to the end; what is no box is not counted.
            if size < 8 or not kind.isalnum():
                break
            end += size
        return end
    if content[:4] == b'RIFF':  # AVI
        size = int.from_bytes(content[4:8], 'little')
        return 8 + size if size < 2**32 - 1 else 0
    if content[:4] == b'\x1a\x45\xdf\xa3':  # WebM and Matroska
        start = content.find(b'\x18\x53\x80\x67', 0, 4096) + 4
        # The first byte's leading zeros tell how many bytes the number has.
        # All ones mean that its writer, a live stream, did not know it.
        if 4 <= start < len(content):
            length = 9 - content[start].bit_length()
            unknown = (1 << 7 * length) - 1
            number = int.from_bytes(content[start:start + length], 'big')
            if number & unknown != unknown:
                return start + length + (number & unknown)
    return 0


def count_hidden_frames(reader: Any) -> int:
    """Count the frames that an edit list cuts off the start of a video.

    A clip that was cut without encoding it anew holds the frames from the
    key frame before the cut on. They are needed for decoding but not shown.

    Args:
        reader (decord.VideoReader): The video.

    Returns:
        int: Frames before time zero.
    """
    starts = reader.get_frame_timestamp(range(len(reader)))[:, 0]
    # Frames without a time stamp lie some 1e14 seconds or more before zero.
    return int(((starts < 0) & (starts > -1e9)).sum())


@TRANSFORMS.register_module()
class SafeDecordInit(DecordInit):
    """``DecordInit`` that refuses files on which decord crashes or guesses.

    Decord 0.6 reads outside of its buffer where a truncated file's index
    points behind the end, and fills in frames that it cannot decode with the
    last one. The number of frames does not include those that
    :func:`count_hidden_frames` counts.

    Args:
        io_backend (str): Where the videos are. Defaults to ``'disk'``.
        num_threads (int): Threads to decode a video with. Defaults to 1.
        **kwargs: Arguments of the file client.
    """

    def _get_video_reader(self, filename: str) -> Any:
        import decord
        if not osp.splitext(filename)[1]:
            filename += '.mp4'
        if self.file_client is None:
            self.file_client = FileClient(self.io_backend, **self.kwargs)
        content = self.file_client.get(filename)
        size = declared_size(content)
        if len(content) < size:
            raise ValueError(f'the file is truncated, it has {len(content)} '
                             f'of {size} bytes')
        # Decord takes a tolerance of exactly 0 for an unlimited one.
        return decord.VideoReader(
            io.BytesIO(content), num_threads=self.num_threads, fault_tol=1e-4)

    def transform(self, results: Dict) -> Dict:
        """Open a video.

        Args:
            results (dict): With ``filename``.

        Returns:
            dict: With ``video_reader``, ``total_frames`` and ``avg_fps``.

        Raises:
            ValueError: The video is truncated or has fewer than 2 frames.
        """
        results = super().transform(results)
        results['total_frames'] -= count_hidden_frames(results['video_reader'])
        if results['total_frames'] < 2:
            raise ValueError('ILA aligns pairs of frames, the video has only '
                             f"{results['total_frames']}")
        return results


@TRANSFORMS.register_module()
class SafeDecordDecode(DecordDecode):
    """``DecordDecode`` that reads a video from its start without seeking.

    Where time stamps are missing, not in order or changed by an edit list,
    decord 0.6 seeks to wrong frames or never comes back. Samples that span
    the whole video, as those of ``UniformSample``, need most of the decoding
    that seeking would save anyway.
    """

    def __init__(self) -> None:
        super().__init__(mode='accurate')

    def _decord_load_frames(self, container: Any,
                            frame_inds: np.ndarray) -> List[np.ndarray]:
        wanted = set(frame_inds.tolist())
        frames = dict()
        for index in range(max(wanted) + 1):
            frame = container.next()
            if index in wanted:
                frames[index] = frame.asnumpy()
                # Decord 0.6 takes padded lines of some narrow videos for a
                # fourth channel.
                if frames[index].shape[-1] != 3:
                    raise ValueError(
                        f'decord misreads a width of {frame.shape[1]} pixels; '
                        'encode the video anew with a multiple of 64')
        return [frames[index] for index in frame_inds.tolist()]
