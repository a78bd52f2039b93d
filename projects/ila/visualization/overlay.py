import math
from typing import List, Optional, Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg

from ..models.alignment import Pairs
from .alignment import frame_masks, legend, show_frame, to_pixels
from .grid import cell_size, choose_blocks, make_grid


def draw_overlay(frames: np.ndarray,
                 points: np.ndarray,
                 radius: float = 0.25,
                 slope: float = 1.5,
                 layers: Optional[Sequence[int]] = None,
                 patch_size: int = 1,
                 title: str = '',
                 pairs: Pairs = Pairs(),
                 blocks: Optional[Sequence[int]] = None) -> np.ndarray:
    """Draw a video beside its points and masks in every block.

    Args: See :func:`draw_alignment`.

    Returns:
        np.ndarray: One picture per frame, ``(T, height, width, 3)``, uint8,
        RGB: the frame, then the blocks.
    """
    chosen = choose_blocks(points, layers, blocks)
    size = [side // patch_size for side in frames.shape[1:3]]
    masks = [
        frame_masks(own, size, radius, slope, pairs)
        for own in chosen.values()
    ]
    pixels = [to_pixels(own, size, patch_size) for own in chosen.values()]
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
            f'{title}\n{legend(pairs)}',
            captions=0.2)
        first, *others = axes.flat
        first.imshow(frame)
        first.set_title(f't = {t}', fontsize=9)
        for axis in others[len(chosen):]:
            axis.set_visible(False)
        for axis, layer, *drawn in zip(others, chosen, masks, pixels):
            show_frame(axis, t, frames, *drawn, pairs)
            axis.set_title(f'block {layer}', fontsize=9)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        pictures.append(np.asarray(canvas.buffer_rgba())[..., :3].copy())
    return np.stack(pictures)
