from pathlib import Path
from typing import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .alignment import shade

_GAP, _CAPTION = 8, 30  # pixels
_RED, _WHITE = (230, 30, 30), (255, 255, 255)
_FRACTION_BITS = 4  # for fractions of a pixel in OpenCV's coordinates


def draw_trail(frames: np.ndarray,
               places: np.ndarray,
               masks: np.ndarray,
               caption: str = '') -> np.ndarray:
    """Draw the path of a block's points, and the frames under its masks.

    Args:
        frames (np.ndarray): ``(T, H, W, 3)``, uint8, RGB. They may be larger
            than the frames that the model processed.
        places (np.ndarray): One point per frame, ``(T, 2)``, in pixels.
        masks (np.ndarray): ``(T, h, w)``.
        caption (str): A line of text below.

    Returns:
        np.ndarray: One picture per frame, ``(T, height, W, 3)``, uint8, RGB:
        the frame with the path so far, the masked frame, and the caption.
    """
    width, height = frames.shape[2], frames.shape[1]
    foot = Image.new('RGB', (width, _CAPTION), _WHITE)
    ImageDraw.Draw(foot).text((width / 2, _CAPTION / 2),
                              caption,
                              'black',
                              ImageFont.load_default(16),
                              anchor='mm')
    gap = np.full((_GAP, width, 3), 255, np.uint8)
    return np.stack([
        np.concatenate([
            _draw_way(frame, places[:t + 1]), gap,
            shade(frame, cv2.resize(mask, (width, height))), foot
        ]) for t, (frame, mask) in enumerate(zip(frames, masks))
    ])


def _draw_way(frame: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Draw a path ``(n, 2)``, in pixels, with a ring at its end."""
    frame = frame.copy()
    corners = np.round(places * 2**_FRACTION_BITS).astype(np.int32)
    radius = round(frame.shape[1] / 22) << _FRACTION_BITS
    for color, thickness in ((_WHITE, 5), (_RED, 2)):
        options = dict(
            color=color,
            thickness=thickness,
            lineType=cv2.LINE_AA,
            shift=_FRACTION_BITS)
        cv2.polylines(frame, [corners], False, **options)
        cv2.circle(frame, corners[-1], radius, **options)
    return frame


def write_animation(path: Path,
                    videos: Sequence[np.ndarray],
                    fps: int = 8,
                    quality: int = 75) -> None:
    """Write videos of equal size side by side as an endless WebP animation.

    The last frame stays for a second.

    Args:
        path (Path): The file.
        videos (Sequence[np.ndarray]): Each ``(T, H, W, 3)``, uint8, RGB.
        fps (int): Frames per second.
        quality (int): From 0 to 100.
    """
    gap = np.full((*videos[0].shape[:2], _GAP, 3), 255, np.uint8)
    parts = [part for video in videos for part in (gap, video)][1:]
    first, *others = map(Image.fromarray, np.concatenate(parts, 2))
    durations = [1000 // fps] * len(others) + [1000]
    first.save(
        path,
        save_all=True,
        append_images=others,
        duration=durations,
        loop=0,
        quality=quality,
        method=6)
