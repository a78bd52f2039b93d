import io
import os.path as osp
from typing import Any, Dict, Iterator, List, NamedTuple

import numpy as np
from mmengine.fileio import FileClient

from mmaction.datasets.transforms import (DecordDecode, DecordInit, PyAVDecode,
                                          PyAVInit)
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


def read_whole_file(client: FileClient, filename: str) -> bytes:
    """Read a video's file.

    Args:
        client (FileClient): Where the file is.
        filename (str): Its path; ``.mp4`` is added where it has no ending.

    Raises:
        ValueError: The file is shorter than its headers tell.
    """
    if not osp.splitext(filename)[1]:
        filename += '.mp4'
    content = client.get(filename)
    size = declared_size(content)
    if len(content) < size:
        raise ValueError(f'the file is truncated, it has {len(content)} '
                         f'of {size} bytes')
    return content


def check_num_frames(num_frames: int) -> None:
    """Refuse videos without a pair of frames."""
    if num_frames < 2:
        raise ValueError('ILA aligns pairs of frames, the video has only '
                         f'{num_frames}')


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
        if self.file_client is None:
            self.file_client = FileClient(self.io_backend, **self.kwargs)
        content = read_whole_file(self.file_client, filename)
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
        check_num_frames(results['total_frames'])
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


class VideoPackets(NamedTuple):
    """A video that is opened, but not decoded.

    Attributes:
        container (av.container.InputContainer): The file.
        packets (list[av.Packet]): Its compressed frames, in the order of
            decoding.
        times (list[int]): Time stamps of the frames that are shown, in the
            order of showing. It is empty where the file's stamps do not tell
            that order.
    """
    container: Any
    packets: list
    times: List[int]


@TRANSFORMS.register_module()
class SafePyAVInit(PyAVInit):
    """``PyAVInit`` that refuses damaged files and counts the frames itself.

    Many files do not say how many frames they have, or count those that an
    edit list hides. It needs PyAV, ``pip install av``.

    Args:
        io_backend (str): Where the videos are. Defaults to ``'disk'``.
        **kwargs: Arguments of the file client.
    """

    def transform(self, results: Dict) -> Dict:
        """Open a video.

        Args:
            results (dict): With ``filename``.

        Returns:
            dict: With ``video_reader``, :class:`VideoPackets`, and
            ``total_frames``.

        Raises:
            ValueError: The video is truncated, holds no video stream or has
                fewer than 2 frames.
        """
        import av
        if self.file_client is None:
            self.file_client = FileClient(self.io_backend, **self.kwargs)
        content = read_whole_file(self.file_client, results['filename'])
        container = av.open(io.BytesIO(content))
        if not container.streams.video:
            raise ValueError('the file holds no video stream')
        packets = [
            packet for packet in container.demux(container.streams.video[0])
            if packet.size
        ]
        shown = [packet for packet in packets if not packet.is_discard]
        check_num_frames(len(shown))
        times = [packet.pts for packet in shown]
        # In the order of decoding: there is no other one, or the file, such
        # as AVI, does not tell it.
        unknown = None in times or times == sorted(times) or len(
            set(times)) < len(times)
        results['video_reader'] = VideoPackets(
            container, packets, [] if unknown else sorted(times))
        results['total_frames'] = len(shown)
        return results


@TRANSFORMS.register_module()
class SafePyAVDecode(PyAVDecode):
    """``PyAVDecode`` that decodes no more than the wanted frames need.

    The frames are those of :class:`SafeDecordDecode`. A frame that is not
    wanted and that no other frame refers to, as half of the frames of many
    H.264 files, is left out. The others are decoded once, in one go.

    Args:
        num_threads (int): Threads to decode a video with. Defaults to 1.
    """

    def __init__(self, num_threads: int = 1) -> None:
        super().__init__(multi_thread=num_threads > 1)
        self.num_threads = num_threads

    def transform(self, results: Dict) -> Dict:
        """Decode the frames.

        Args:
            results (dict): With ``video_reader`` from :class:`SafePyAVInit`
                and ``frame_inds``.

        Returns:
            dict: With ``imgs``, arrays ``(H, W, 3)`` of RGB values,
            ``original_shape`` and ``img_shape``.

        Raises:
            ValueError: A wanted frame is damaged or missing.
        """
        video = results.pop('video_reader')
        indices = np.ravel(results['frame_inds']).tolist()
        missing = set(indices)
        images = dict()
        for index, frame in self._decode(video, set(indices)):
            if index not in missing:
                continue
            if frame.is_corrupt:
                raise ValueError(f'frame {index} is damaged')
            missing.remove(index)
            image = frame.to_ndarray(format='rgb24')
            images[index] = np.rot90(image, frame.rotation // 90)
            if not missing:
                break
        if missing:
            raise ValueError(f'frame {min(missing)} and {len(missing) - 1} '
                             'others could not be decoded')
        results['imgs'] = [images[index] for index in indices]
        results['original_shape'] = results['imgs'][0].shape[:2]
        results['img_shape'] = results['imgs'][0].shape[:2]
        return results

    def _decode(self, video: VideoPackets, wanted: set) -> Iterator[tuple]:
        """Decode the wanted frames, and some others, in any order."""
        decoder = video.container.streams.video[0].codec_context
        decoder.thread_count = self.num_threads
        if self.multi_thread:
            decoder.thread_type = 'AUTO'
        indices = {time: index for index, time in enumerate(video.times)}
        count = 0
        for packet in [*video.packets, None]:
            if packet is not None and indices:
                needed = indices.get(packet.pts) in wanted
                decoder.skip_frame = 'DEFAULT' if needed else 'NONREF'
            for frame in decoder.decode(packet):
                yield indices.get(frame.pts) if indices else count, frame
                count += 1

    def __repr__(self) -> str:
        return f'{type(self).__name__}(num_threads={self.num_threads})'
