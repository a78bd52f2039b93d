"""Small real video files for tests."""
import os
from fractions import Fraction
from pathlib import Path
from typing import Iterable, Iterator, Optional, Sequence

import av
import cv2
import numpy as np


def moving_noise(num_frames: int, size: tuple) -> Iterator[np.ndarray]:
    """Noise that moves; each frame is brighter than the one before."""
    noise = np.random.default_rng(0).integers(0, 99, (size[1], size[0], 3))
    for index in range(num_frames):
        frame = np.roll(noise, 3 * index, axis=1) + 2 * index
        yield frame.astype(np.uint8)


def write_video(path: Path,
                num_frames: int = 60,
                size: tuple = (64, 48),
                fourcc: str = 'mp4v') -> Path:
    """Write moving noise with OpenCV."""
    writer = cv2.VideoWriter(
        str(path), cv2.VideoWriter_fourcc(*fourcc), 30, size)
    assert writer.isOpened()
    for frame in moving_noise(num_frames, size):
        writer.write(frame)
    writer.release()
    return path


def write_h264(path: Path,
               num_frames: int = 60,
               size: tuple = (64, 48)) -> Path:
    """Write moving noise as H.264 with frames in another order."""
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libx264', rate=30)
        stream.width, stream.height = size
        for frame in moving_noise(num_frames, size):
            frame = av.VideoFrame.from_ndarray(frame, format='bgr24')
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def draw_barcode(index: int, size: tuple = (64, 48)) -> np.ndarray:
    """Draw a number below 256 as eight upright bars, black or white."""
    bars = np.unpackbits(np.array([index], np.uint8)) * 255
    row = np.repeat(bars, size[0] // 8)
    row = np.pad(row, (0, size[0] - len(row)), mode='edge')
    return np.broadcast_to(row[None, :, None], (size[1], size[0], 3)).copy()


def read_barcode(image: np.ndarray) -> int:
    """Read what :func:`draw_barcode` has drawn."""
    width = image.shape[1] // 8
    bars = [
        image[:, place * width:(place + 1) * width].mean() > 127
        for place in range(8)
    ]
    return int(np.packbits(bars)[0])


def open_encoder(stream: av.video.stream.VideoStream) -> None:
    """Open an encoder and keep this thread's priority.

    For root, SVT-AV1 makes the thread, and so all that it starts later, a
    real-time one, which nothing else interrupts.
    """
    policy, priority = os.sched_getscheduler(0), os.sched_getparam(0)
    stream.codec_context.open(strict=False)
    os.sched_setscheduler(0, policy, priority)


def encode_barcodes(container: av.container.OutputContainer,
                    codec: str,
                    indices: Iterable[int],
                    size: tuple = (64, 48),
                    rate: int = 25,
                    pix_fmt: str = 'yuv420p',
                    times: Optional[Sequence[int]] = None,
                    **options) -> Iterator[av.Packet]:
    """Encode barcodes as a new stream of a container.

    Args:
        container (OutputContainer): The file.
        codec (str): FFmpeg's name of the encoder.
        indices (Iterable[int]): Numbers to draw, one per frame.
        size (tuple): Width and height.
        rate (int): Frames per second.
        pix_fmt (str): Pixel format.
        times (Sequence[int], optional): Places of the frames in time, in
            frames. Defaults to one after the other.
        **options: Of the encoder.

    Yields:
        Packet: Compressed frames.
    """
    stream = container.add_stream(codec, rate=rate, options=options)
    stream.width, stream.height = size
    stream.pix_fmt = pix_fmt
    open_encoder(stream)
    for place, index in enumerate(indices):
        frame = av.VideoFrame.from_ndarray(draw_barcode(index, size), 'rgb24')
        frame.pts = place if times is None else times[place]
        frame.time_base = Fraction(1, rate)
        yield from stream.encode(frame)
    yield from stream.encode()


def write_barcodes(path: Path,
                   codec: str,
                   num_frames: int = 40,
                   format: Optional[str] = None,
                   **kwargs) -> Path:
    """Write a video whose frames show their own index."""
    with av.open(str(path), 'w', format=format) as container:
        for packet in encode_barcodes(container, codec, range(num_frames),
                                      **kwargs):
            container.mux(packet)
    return path


def write_packed_mpeg4(path: Path, num_frames: int = 40) -> Path:
    """Write MPEG-4 whose B-frames share a packet with the frame before.

    As DivX and XviD write AVI: ``I0, P3 + B1, B2, nothing, P6 + B4, ...``.
    """
    # A frame that repeats the one before, in place of the packed one.
    repeated = bytes.fromhex('000001b65000')
    with av.open(str(path), 'w') as container:
        packets = list(
            encode_barcodes(
                container,
                'mpeg4',
                range(num_frames),
                bf='2',
                g='300',
                sc_threshold='1000000000'))
        stream = container.streams.video[0]
        contents = [bytes(packet) for packet in packets]
        # By its user data a decoder knows of the packing.
        contents[0] = contents[0].replace(
            b'\0\0\1\xb6', b'\0\0\1\xb2DivX503b1393p\0\0\1\xb6', 1)
        packed = contents[:1]
        for first, second, third in zip(*(contents[x::3] for x in (1, 2, 3))):
            packed += [first + second, third, repeated]
        for index, content in enumerate(packed):
            packet = av.Packet(content)
            packet.stream, packet.time_base = stream, Fraction(1, 25)
            packet.pts = packet.dts = index
            packet.is_keyframe = index == 0
            container.mux(packet)
    return path
