from fractions import Fraction
from pathlib import Path

import mmcv

from ..datasets.video_file import open_container
from ..datasets.video_reader import VideoReader
from ..datasets.video_writer import write_video

# Extensions and codecs that all browsers play.
PLAYABLE = {'.mp4': ('h264', 'av1'), '.webm': ('vp8', 'vp9', 'av1')}


def is_playable(path: Path) -> bool:
    """Whether browsers can play a video file without conversion.

    Raises:
        ValueError: The file is not a video.
    """
    codecs = PLAYABLE.get(path.suffix.lower(), ())
    with open_container(path.read_bytes()) as container:
        decoders = [x.codec_context for x in container.streams.video]
        return bool(decoders) and all(
            x is not None and x.codec.canonical_name in codecs and x.pix_fmt in
            ('yuv420p', 'yuvj420p') for x in decoders)


def make_playable(path: Path, folder: Path, side: int = 640) -> Path:
    """Convert a video for browsers, if they cannot play it.

    Args:
        path (Path): The video.
        folder (Path): Folder for the converted file.
        side (int): Longest side of the converted video, in pixels.

    Returns:
        Path: ``path`` if browsers can play it, otherwise the new file.

    Raises:
        ValueError: The video cannot be decoded.
    """
    if is_playable(path):
        return path
    reader = VideoReader(path.read_bytes())
    frames = (mmcv.imrescale(frame, min(1., side / max(frame.shape)))
              for _, frame in reader.iter_frames(range(len(reader))))
    preview = folder / f'{path.stem}.preview.mp4'
    rate = Fraction(reader.fps or 25).limit_denominator(1000)
    write_video(preview, frames, rate, preset='veryfast')
    return preview
