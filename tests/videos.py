"""Small real video files for tests."""
from pathlib import Path
from typing import Iterator

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
