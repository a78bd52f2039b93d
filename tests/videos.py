"""Small real video files for tests."""
from pathlib import Path

import cv2
import numpy as np


def write_video(path: Path,
                num_frames: int = 60,
                size: tuple = (64, 48),
                fourcc: str = 'mp4v') -> Path:
    """Write noise that moves; each frame is brighter than the one before."""
    noise = np.random.default_rng(0).integers(0, 99, (size[1], size[0], 3))
    writer = cv2.VideoWriter(
        str(path), cv2.VideoWriter_fourcc(*fourcc), 30, size)
    assert writer.isOpened()
    for index in range(num_frames):
        frame = np.roll(noise, 3 * index, axis=1) + 2 * index
        writer.write(frame.astype(np.uint8))
    writer.release()
    return path
