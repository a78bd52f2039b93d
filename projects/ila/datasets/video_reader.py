"""Frames of video files by their index."""
import math
from collections import deque
from typing import Iterable, Iterator, List, Optional, Sequence, Set, Tuple

import av
import numpy as np

from .access_points import drop_unneeded, find_access_points
from .video_file import demux, explain, open_container

# H.264 and HEVC reorder by at most this many frames.
_MAX_REORDER = 16
# Bytes of decoded frames to keep, so that they need not be decoded twice.
_MAX_KEPT = 2**28


def choose_rate(header: Optional[float], frames: int, seconds: float) -> float:
    """Choose between the frame rate that a file states and the measured one.

    ``seconds`` is the time from the first frame to the last, 0 if unknown. The
    stated rate is used unless it differs from the time stamps by more than a
    tenth. The result is 0 if neither is known.
    """
    header = float(header or 0)
    if seconds <= 0 or frames < 2:
        return header
    measured = (frames - 1) / seconds
    return header if abs(header / measured - 1) < 0.1 else measured


class VideoReader:
    """Frames of a video by their index, the same as from ``ffmpeg``.

    Frame ``i`` is the ``i``-th output of the decoder, rotated and mirrored as
    the file says. If the time stamps give the order of the frames, as in most
    H.264 and HEVC files, two things are not decoded: groups of pictures
    without a wanted frame, and unwanted frames that no other frame refers to.
    All other files are decoded in order.

    Args:
        content (bytes): The file.
        num_threads (int): Threads to decode with.

    Raises:
        ValueError: The file is damaged or not a video.
    """

    def __init__(self, content: bytes, num_threads: int = 1) -> None:
        self._container = open_container(content)
        self._stream, self._packets = demux(self._container)
        self._decoder = self._stream.codec_context
        self._decoder.thread_count = num_threads
        if num_threads > 1:
            self._decoder.thread_type = 'AUTO'
        shown = [x.pts for x in self._packets if not x.is_discard]
        self._stamps = sorted({x for x in shown if x is not None})
        self._num_frames = self._kept = self._access_points = None
        self._graphs, self._size = dict(), None
        self._sparse = self._has_order(shown)
        if self._sparse:
            self._num_frames = len(shown)

    def _has_order(self, shown: List[Optional[int]]) -> bool:
        """Whether each packet is a frame, and times give their order."""
        if (self._decoder.name not in ('h264', 'hevc')
                or self._container.format.name[:3] not in ('mov', 'mat', 'flv')
                or len(self._stamps) < len(shown) or not shown):
            return False
        # The decoder may drop frames before the first key frame.
        first = self._packets[0]
        if not first.is_keyframe or any(x.pts is None or x.pts < first.pts
                                        for x in self._packets):
            return False
        # Time stamps may restart in files that were joined.
        if not self._decoder.has_b_frames and shown != self._stamps:
            return False
        places = {time: place for place, time in enumerate(self._stamps)}
        if any(
                abs(places[time] - place) > _MAX_REORDER
                for place, time in enumerate(shown)):
            return False
        # The two fields of an interlaced frame may be two packets.
        frame = next(self._decode([first]), None)
        return frame is not None and not frame.interlaced_frame

    def __len__(self) -> int:
        """Count the frames, by decoding them if there is no other way."""
        if self._num_frames is None:
            count, kept, size = 0, [], 0
            for frame in self._decode():
                count += 1
                size += sum(plane.buffer_size for plane in frame.planes)
                if size <= _MAX_KEPT:
                    kept.append(frame)
                else:
                    kept.clear()
            self._num_frames = count
            self._kept = kept if len(kept) == count else None
        return self._num_frames

    @property
    def fps(self) -> float:
        """float: Average number of frames per second; 0 if unknown."""
        return choose_rate(self._rate, len(self), self._seconds)

    @property
    def _rate(self) -> Optional[float]:
        return self._stream.average_rate or self._stream.guessed_rate

    @property
    def _seconds(self) -> float:
        """Time from the first frame to the last."""
        if len(self._stamps) < 2:
            return 0.
        ticks = self._stamps[-1] - self._stamps[0]
        return float(ticks * self._stream.time_base)

    @property
    def times(self) -> Optional[np.ndarray]:
        """np.ndarray: Seconds from the first frame on; None if unknown."""
        if len(self._stamps) != len(self):
            return None
        ticks = np.subtract(self._stamps, self._stamps[0])
        return ticks * float(self._stream.time_base)

    @property
    def duration(self) -> float:
        """float: Duration in seconds, without decoding; 0 if unknown."""
        if self._seconds:
            return self._seconds * (1 + 1 / (len(self._stamps) - 1))
        return len(self._packets) / float(self._rate or np.inf)

    def iter_frames(
            self, indices: Iterable[int]) -> Iterator[Tuple[int, np.ndarray]]:
        """Decode each of the indices once, from the first to the last.

        Frames are ``(H, W, 3)``, uint8, RGB.

        Raises:
            ValueError: A frame is damaged or missing.
        """
        wanted = set(indices)
        for index, frame in self._select(wanted):
            wanted.remove(index)
            if frame.is_corrupt:
                raise ValueError(f'frame {index} is damaged; replace the file')
            yield index, self._to_rgb(frame)
        if wanted:
            raise ValueError(f'frame {min(wanted)} is missing, the file has '
                             f'{len(self)}; replace it')

    def check(self) -> None:
        """Decode all frames.

        Raises:
            ValueError: One is damaged or missing.
        """
        count = 0
        for frame in self._kept or self._decode():
            if frame.is_corrupt:
                raise ValueError(f'frame {count} is damaged; replace the file')
            count += 1
        if count != len(self):
            raise ValueError(f'{count} of {len(self)} frames can be decoded; '
                             'replace the file')

    def _select(self, wanted: Set[int]) -> Iterator[Tuple[int, av.VideoFrame]]:
        """Decode the wanted frames, and others only if these need them."""
        missing = set(wanted)
        if self._sparse:
            for index, frame in self._decode_sparse(missing):
                missing.remove(index)
                yield index, frame
            if not missing:
                return
            # The time stamps are wrong, or frames are missing.
            stated = len(self)
            self._sparse, self._num_frames = False, None
            if len(self) != stated:
                raise ValueError(f'{len(self)} of {stated} frames can be '
                                 'decoded; replace the file')
        for index, frame in enumerate(self._kept or self._decode()):
            if index in missing:
                missing.remove(index)
                yield index, frame
            if not missing:
                return

    def _decode_sparse(
            self, wanted: Set[int]) -> Iterator[Tuple[int, av.VideoFrame]]:
        """Decode by time stamps, until one is out of order."""
        places = {time: place for place, time in enumerate(self._stamps)}
        stamps = {self._stamps[x] for x in wanted if x < len(self._stamps)}
        if self._access_points is None:
            self._access_points = find_access_points(self._packets,
                                                     self._decoder)
        packets = drop_unneeded(self._packets, self._access_points, stamps)
        end, last, held = max(wanted), -1, deque()
        for frame in self._decode(packets, stamps):
            index = places.get(frame.pts, -1)
            if index <= last:
                return
            last = index
            if frame.pts in stamps:
                held.append((index, frame))
            # Its position is certain once no frame before it can follow.
            while held and last - held[0][0] > _MAX_REORDER:
                yield held.popleft()
            if index >= end:
                break
        yield from held

    def _decode(self,
                packets: Optional[Sequence[av.Packet]] = None,
                stamps: Optional[Set[int]] = None) -> Iterator[av.VideoFrame]:
        """Decode packets from a key frame on.

        Args:
            packets (Sequence[Packet], optional): In the order of decoding.
                Defaults to all.
            stamps (set[int], optional): Times of the wanted frames; others
                may be left out. Defaults to all.
        """
        decoder = self._decoder
        decoder.skip_frame = 'DEFAULT'
        if decoder.is_open:
            decoder.flush_buffers()
        try:
            for packet in [*(packets or self._packets), None]:
                if stamps is not None and packet is not None:
                    needed = packet.pts in stamps
                    decoder.skip_frame = 'DEFAULT' if needed else 'NONREF'
                for frame in decoder.decode(packet):
                    self._size = self._size or (frame.width, frame.height)
                    yield frame
        except av.error.PatchWelcomeError as error:
            raise ValueError(
                'FFmpeg cannot decode its kind of video '
                f'({decoder.name}); convert it to H.264') from error
        except (av.FFmpegError, MemoryError) as error:
            raise ValueError(
                'the file is damaged, its frames cannot be '
                f'decoded ({explain(error)}); replace it') from error

    def _to_rgb(self, frame: av.VideoFrame) -> np.ndarray:
        """Convert a frame as ``ffmpeg`` does."""
        turns = tuple(orient(frame))
        key = frame.format.name, frame.width, frame.height, turns
        if key not in self._graphs:
            self._graphs[key] = self._build_graph(frame, turns)
        graph = self._graphs[key]
        graph.push(frame)
        return graph.pull().to_ndarray()

    def _build_graph(self, frame: av.VideoFrame,
                     turns: Sequence[Tuple[str, str]]) -> av.filter.Graph:
        graph = av.filter.Graph()
        graph.threads = 1
        nodes = [
            graph.add(
                'buffer',
                video_size=f'{frame.width}x{frame.height}',
                pix_fmt=frame.format.name,
                time_base=str(self._stream.time_base),
                colorspace=str(int(frame.colorspace)),
                range=str(int(frame.color_range)))
        ]
        if (frame.width, frame.height) != self._size:
            # As in recorded calls: the size of the first frame is kept.
            nodes.append(graph.add('scale', '{}:{}'.format(*self._size)))
        nodes += [graph.add(*turn) for turn in turns]
        nodes.append(graph.add('format', 'rgb24'))
        nodes.append(graph.add('buffersink'))
        graph.link_nodes(*nodes).configure()
        return graph


def orient(frame: av.VideoFrame) -> List[Tuple[str, str]]:
    """Find FFmpeg filters that rotate and mirror a frame for display."""
    for data in frame.side_data:
        if data.type.name == 'DISPLAYMATRIX':
            break
    else:
        return []
    # A pixel's column and row become ``a x + c y`` and ``b x + d y``.
    a, b, _, c, d, *_ = np.frombuffer(data, np.int32).tolist()
    if a == d == 0:
        turns = {
            (True, False): 'clock',
            (False, True): 'cclock',
            (True, True): 'cclock_flip',
            (False, False): 'clock_flip'
        }
        return [('transpose', turns[b > 0, c > 0])] if b and c else []
    if b == c == 0:
        flips = [('hflip', '')] if a < 0 else []
        return flips + ([('vflip', '')] if d < 0 else [])
    angle = round(math.degrees(math.atan2(b, a)))
    return [('rotate', f'{angle}*PI/180')] if angle else []
