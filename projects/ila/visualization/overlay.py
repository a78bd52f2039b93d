import math
from typing import List

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg

from .alignment import frame_masks, grid_size, legend, show_frame, to_pixels
from .grid import cell_size, make_grid
from .style import PLAIN, DrawingStyle


def draw_overlay(frames: np.ndarray,
                 points: np.ndarray,
                 style: DrawingStyle = PLAIN) -> np.ndarray:
    """Draw a video beside its points and masks in every block.

    The arguments are those of :func:`draw_alignment`.

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
    # About as wide as a screen.
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
