from pathlib import Path

import av
import numpy as np


def write_video(path: Path,
                frames: np.ndarray,
                fps: int,
                codec: str = 'libx264',
                **options: str) -> None:
    """Write a video.

    Args:
        path (Path): The video. Its ending decides the container.
        frames (np.ndarray): ``(T, H, W, 3)``, uint8, RGB. An odd last row or
            column is left out: colours have half the resolution.
        fps (int): Frames per second.
        codec (str): FFmpeg's name of an encoder. The default is H.264, which
            players and browsers show.
        **options: Options of the encoder.

    Raises:
        OSError: The video cannot be stored.
        ValueError: There is no such encoder.
    """
    height, width = (side // 2 * 2 for side in frames.shape[1:3])
    frames = np.ascontiguousarray(frames[:, :height, :width])
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=fps, options=options)
        stream.width, stream.height = width, height
        stream.pix_fmt = 'yuv420p'
        for frame in frames:
            frame = av.VideoFrame.from_ndarray(frame, format='rgb24')
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
