from pathlib import Path

import av
import numpy as np


def write_video(path: Path, frames: np.ndarray, fps: int) -> None:
    """Write an H.264 video, which players and browsers show.

    Args:
        path (Path): The video, ``.mp4``.
        frames (np.ndarray): ``(T, H, W, 3)``, uint8, RGB. An odd last row or
            column is left out: colours have half the resolution.
        fps (int): Frames per second.

    Raises:
        OSError: The video cannot be stored.
    """
    height, width = (side // 2 * 2 for side in frames.shape[1:3])
    frames = np.ascontiguousarray(frames[:, :height, :width])
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libx264', rate=fps)
        stream.width, stream.height = width, height
        stream.pix_fmt = 'yuv420p'
        for frame in frames:
            frame = av.VideoFrame.from_ndarray(frame, format='rgb24')
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
