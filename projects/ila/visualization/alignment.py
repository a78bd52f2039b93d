from typing import Optional, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure

from ..models.common import merge_neighbours, soft_mask


def draw_alignment(frames: np.ndarray,
                   points: np.ndarray,
                   radius: float = 0.25,
                   slope: float = 1.5,
                   layers: Optional[Sequence[int]] = None) -> Figure:
    """Draw a video's frames with their interactive points and masks.

    One row shows the frames, one more per block shows them as its soft masks
    weight them. A circle is the point that a frame shares with the next one,
    a cross that with the one before.

    Args:
        frames (np.ndarray): ``(T, H, W, 3)``, uint8, RGB.
        points (np.ndarray): ``(layers, T - 1, 2, 2)``, see ``ILAFeatures``.
        radius (float): See :func:`soft_mask`. Defaults to 0.25.
        slope (float): See :func:`soft_mask`. Defaults to 1.5.
        layers (Sequence[int], optional): Blocks to draw. Defaults to all.

    Returns:
        Figure: The drawing, to be saved and closed by the caller.
    """
    num_frames, height, width = frames.shape[:3]
    layers = range(len(points)) if layers is None else layers
    figure, axes = plt.subplots(
        len(layers) + 1,
        num_frames,
        figsize=(1.3 * num_frames, 1.4 * (len(layers) + 1)),
        squeeze=False)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    axes[0, 0].set_ylabel('frames')
    for t, frame in enumerate(frames):
        axes[0, t].imshow(frame)
        axes[0, t].set_title(f't = {t}', fontsize=8)

    for row, layer in zip(axes[1:], layers):
        row[0].set_ylabel(f'block {layer}')
        masks = merge_neighbours(
            soft_mask(
                torch.as_tensor(points[layer])[None], (height, width), radius,
                slope))[0].numpy()
        for t, axis in enumerate(row):
            shade = 0.25 + 0.75 * masks[t, ..., None]
            axis.imshow((frames[t] * shade).astype(np.uint8))
            # Pairs (t - 1, t) and (t, t + 1) have a point in frame t.
            for pair, side, marker in ((t - 1, 1, 'x'), (t, 0, 'o')):
                if 0 <= pair < num_frames - 1:
                    x, y = (points[layer, pair, side] + 1) / 2
                    axis.plot(
                        x * (width - 1),
                        y * (height - 1),
                        marker,
                        color='red',
                        markersize=5,
                        fillstyle='none')
    figure.tight_layout(pad=0.3)
    return figure
