import math
from typing import List

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg

from .alignment import (frame_markers, frame_masks, grid_size, legend, shade,
                        show_frame, to_pixels)
from .grid import cell_size, make_grid
from .style import PLAIN, DrawingStyle


def draw_overlay(frames: np.ndarray,
                 points: np.ndarray,
                 style: DrawingStyle = PLAIN) -> np.ndarray:
    """Draw a video next to its points and masks in every block.

    Arguments are the same as for :func:`draw_alignment`.

    Returns:
        np.ndarray: One picture per frame, ``(T, height, width, 3)``, uint8,
        RGB: the frame, then the blocks.
    """
    chosen, size = style.choose(points), grid_size(frames, style)
    masks = [frame_masks(own, size, style) for own in chosen.values()]
    pixels = [
        to_pixels(own, size, style.patch_size) for own in chosen.values()
    ]
    panels = len(chosen) + 1
    # Roughly the aspect ratio of a screen.
    columns = math.ceil(math.sqrt(1.6 * panels))
    rows = math.ceil(panels / columns)
    pictures: List[np.ndarray] = []
    for t, frame in enumerate(frames):
        figure, axes = make_grid(
            rows,
            columns,
            cell_size(frame, min(3, 12 / columns)),
            f'{style.title}\n{legend(style.pairs)}',
            captions=0.2)
        first, *others = axes.flat
        first.imshow(frame)
        first.set_title(f't = {t}', fontsize=9)
        for axis in others[len(chosen):]:
            axis.set_visible(False)
        for axis, layer, *drawn in zip(others, chosen, masks, pixels):
            show_frame(axis, t, frames, *drawn, style.pairs)
            axis.set_title(f'block {layer}', fontsize=9)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        pictures.append(np.asarray(canvas.buffer_rgba())[..., :3].copy())
    return np.stack(pictures)


def enlarge(picture: np.ndarray, width: int) -> np.ndarray:
    """Enlarge a picture to about ``width`` by repeating pixels."""
    times = max(1, round(width / picture.shape[1]))
    return picture.repeat(times, 0).repeat(times, 1)


def draw_frame(frames: np.ndarray, points: np.ndarray, style: DrawingStyle,
               t: int, layer: int, width: int) -> np.ndarray:
    """Draw one frame with its points and its mask in one block.

    Pixels are repeated, so that the borders of patches stay sharp.

    Args:
        t (int): Index of the frame.
        layer (int): Index of the block.
        width (int): Approximate width of the picture in pixels.

    Other arguments are the same as for :func:`draw_alignment`.

    Returns:
        np.ndarray: ``(height, width, 3)``, uint8, RGB.
    """
    own, size = style.choose(points)[layer], grid_size(frames, style)
    mask = frame_masks(own, size, style)[t]
    picture = enlarge(shade(frames[t], mask), width)
    scale = picture.shape[1] / frames.shape[2]
    pixels = (to_pixels(own, size, style.patch_size) + 0.5) * scale - 0.5
    for marker, shown in frame_markers(t, pixels, style.pairs):
        for point in shown.reshape(-1, 2):
            _mark(picture, point, marker)
    return picture


def _mark(picture: np.ndarray, point: np.ndarray, marker: str) -> None:
    """Draw a red marker with a white border around a point in pixels."""
    bits = 4  # for fractions of a pixel
    radius = max(3, picture.shape[1] / 50)
    x, y, r = (int(round(v * 2**bits)) for v in (*point, radius))
    drawn = dict(lineType=cv2.LINE_AA, shift=bits)
    thickness = max(1, round(radius / 5))
    for color, line in (((255, 255, 255), 3 * thickness), ((255, 0, 0),
                                                           thickness)):
        if marker == 'o':
            cv2.circle(picture, (x, y), r, color, line, **drawn)
        else:
            for sign in (1, -1):
                cv2.line(picture, (x - r, y - sign * r), (x + r, y + sign * r),
                         color, line, **drawn)
