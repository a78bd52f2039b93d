from pathlib import Path

import cv2
import numpy as np

try:
    import av
except ImportError:  # It is optional.
    av = None


def write_video(path: Path, frames: np.ndarray, fps: int) -> None:
    """Write a video that players and browsers show.

    It is H.264 where PyAV is installed, or else MPEG-4 by OpenCV, which
    browsers do not play.

    Args:
        path (Path): The video, ``.mp4``.
        frames (np.ndarray): ``(T, H, W, 3)``, uint8, RGB. An odd last row or
            column is left out: colours have half the resolution.
        fps (int): Frames per second.

    Raises:
        OSError: The video can not be encoded or not be stored.
    """
    height, width = (side // 2 * 2 for side in frames.shape[1:3])
    frames = np.ascontiguousarray(frames[:, :height, :width])
    if av is not None and 'libx264' in av.codecs_available:
        with av.open(str(path), 'w') as container:
            stream = container.add_stream('libx264', rate=fps)
            stream.width, stream.height = width, height
            stream.pix_fmt = 'yuv420p'
            for frame in frames:
                frame = av.VideoFrame.from_ndarray(frame, format='rgb24')
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return
    writer = cv2.VideoWriter(
        str(path), cv2.VideoWriter_fourcc(*'mp4v'), fps, (width, height))
    if not writer.isOpened():
        raise OSError(f'{path}: OpenCV can not write an MPEG-4 video (mp4v) '
                      'here; install PyAV: pip install av')
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
