from fractions import Fraction
from pathlib import Path
from typing import Iterable, Optional

import av
import numpy as np


def write_video(path: Path,
                frames: Iterable[np.ndarray],
                fps: float,
                codec: str = 'libx264',
                format: Optional[str] = None,
                **options: str) -> None:
    """Write a video.

    Args:
        path (Path): The video. Its extension decides the container.
        frames (Iterable[np.ndarray]): ``(H, W, 3)``, uint8, RGB, all of one
            size. An odd last row or column is left out, since colours have
            half the resolution.
        fps (float): Frames per second.
        codec (str): FFmpeg's name of an encoder. The default is H.264, which
            players and browsers support.
        format (str, optional): FFmpeg's name of the container. Defaults to
            the one of the extension.
        **options: Options of the encoder.

    Raises:
        OSError: The video cannot be stored.
        ValueError: There is no such encoder, no frame, or they are too small.
    """
    rate = Fraction(fps).limit_denominator(1001)
    if fps < 1:
        rate = 1 / Fraction(1 / fps).limit_denominator(1001)
    stream = None
    with av.open(str(path), 'w', format=format) as container:
        for frame in frames:
            height, width = (side // 2 * 2 for side in frame.shape[:2])
            if not height or not width:
                raise ValueError('frames need 2 x 2 pixels or more')
            if stream is None:
                stream = container.add_stream(
                    codec, rate=rate, options=options)
                stream.width, stream.height = width, height
                stream.pix_fmt = 'yuv420p'
            frame = np.ascontiguousarray(frame[:height, :width])
            frame = av.VideoFrame.from_ndarray(frame, format='rgb24')
            container.mux(stream.encode(frame))
        if stream is None:
            raise ValueError(f"there are no frames for '{path}'")
        container.mux(stream.encode())
