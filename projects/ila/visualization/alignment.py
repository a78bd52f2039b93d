from typing import Iterator, Sequence, Tuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from ..models.alignment import Pairs, pair_masks
from .grid import cell_size, make_grid
from .style import PLAIN, DrawingStyle

LEGEND = 'o: point shared with the next frame, x: with the one before'


def legend(pairs: Pairs) -> str:
    """Describe the points."""
    if pairs.target == 'neighbour':
        return LEGEND
    return ('o: point shared with a later frame, x: with an earlier one; '
            f'all pairs with the {pairs.target} frame')


def grid_size(frames: np.ndarray, style: DrawingStyle) -> Tuple[int, int]:
    """Rows and columns of the patches of frames ``(T, H, W, 3)``."""
    height, width = frames.shape[1:3]
    return height // style.patch_size, width // style.patch_size


def to_pixels(points: np.ndarray, size: Sequence[int],
              patch_size: int) -> np.ndarray:
    """Convert points (..., 2), x and y, from grid units to pixels.

    -1 and 1 are the centres of the outermost of ``size`` patches, 0 is the
    centre of the first pixel.
    """
    patches = (points + 1) / 2 * (np.array(size)[::-1] - 1)
    return (patches + 0.5) * patch_size - 0.5


def shade(frames: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Darken frames ``(..., H, W, 3)`` where masks ``(..., h, w)`` are low."""
    patch_size = frames.shape[-2] // masks.shape[-1]
    weights = masks.repeat(patch_size, -2).repeat(patch_size, -1)
    shaded = frames * (0.25 + 0.75 * weights[..., None])
    return shaded.round().astype(np.uint8)


def mark(axis: Axes, points: np.ndarray, marker: str) -> None:
    """Draw one or several interactive points, ``([K,] 2)``, in pixels."""
    axis.plot(
        *points.reshape(-1, 2).T,
        marker,
        color='red',
        markersize=6,
        fillstyle='none',
        # Visible on red frames, too.
        path_effects=[withStroke(linewidth=2.5, foreground='white')])


def compute_masks(points: np.ndarray, size: Sequence[int],
                  style: DrawingStyle) -> torch.Tensor:
    """Masks of a block's pairs, ``(1, T - 1, 2, h, w)``.

    Points are ``(T - 1, 2, [K,] 2)``; ``size`` is the patch grid, ``(h, w)``.
    """
    return pair_masks(
        torch.as_tensor(points)[None], size, style.radius, style.slope)


def frame_masks(points: np.ndarray, size: Sequence[int],
                style: DrawingStyle) -> np.ndarray:
    """Masks of a video's frames, ``(T, h, w)``; see :func:`compute_masks`."""
    return style.pairs.merge(compute_masks(points, size, style))[0].numpy()


def frame_markers(t: int, points: np.ndarray,
                  pairs: Pairs) -> Iterator[Tuple[str, np.ndarray]]:
    """Yield the markers of frame ``t``, each with its points ``([K,] 2)``.

    ``points`` are those of all pairs, ``(T - 1, 2, [K,] 2)``.
    """
    for pair, own in zip(pairs.numbers(len(points) + 1), points):
        if t in pair:
            side = pair.index(t)
            yield 'ox'[side], own[side]


def show_frame(axis: Axes, t: int, frames: np.ndarray, masks: np.ndarray,
               points: np.ndarray, pairs: Pairs) -> None:
    """Show frame ``t`` with its mask and its points, given in pixels."""
    axis.imshow(shade(frames[t], masks[t]))
    for marker, shown in frame_markers(t, points, pairs):
        mark(axis, shown, marker)


def draw_alignment(frames: np.ndarray,
                   points: np.ndarray,
                   style: DrawingStyle = PLAIN) -> Figure:
    """Draw a video's frames with their interactive points and masks.

    The first row shows the frames. Each further row is for one block and shows
    the frames weighted by its soft masks. A circle is the point that a frame
    shares with the next (or a later) frame, a cross the point that it shares
    with the previous (or an earlier) frame.

    Args:
        frames (np.ndarray): ``(T, H, W, 3)``, uint8, RGB.
        points (np.ndarray): ``(layers, T - 1, 2, [K,] 2)``, see
            ``ILAFeatures``.
        style (DrawingStyle): For instance ``DrawingStyle.of(model)``.
    """
    chosen, size = style.choose(points), grid_size(frames, style)
    figure, axes = make_grid(
        len(chosen) + 1, len(frames), cell_size(frames[0], 1.3),
        f'{style.title}\n{legend(style.pairs)}')
    axes[0, 0].set_ylabel('frames', fontsize=9)
    for t, frame in enumerate(frames):
        axes[0, t].imshow(frame)
        axes[0, t].set_title(f't = {t}', fontsize=9)

    for row, (layer, own) in zip(axes[1:], chosen.items()):
        row[0].set_ylabel(f'block {layer}', fontsize=9)
        masks = frame_masks(own, size, style)
        pixels = to_pixels(own, size, style.patch_size)
        for t, axis in enumerate(row):
            show_frame(axis, t, frames, masks, pixels, style.pairs)
    return figure


def draw_pairs(frames: np.ndarray,
               points: np.ndarray,
               similarities: np.ndarray,
               style: DrawingStyle = PLAIN) -> Figure:
    """Draw every pair of frames in every block.

    Rows are blocks, columns are pairs. Both frames have the masks and points
    of this pair only: a circle in the earlier and a cross in the later frame.
    The similarity of their aligned features is written below.

    Args:
        similarities (np.ndarray): ``(layers, T - 1)``, cosines; see
            :func:`record_similarities`.

    The other arguments and the result are those of :func:`draw_alignment`.
    """
    chosen, size = style.choose(points), grid_size(frames, style)
    cosines = style.choose(similarities)
    height, width = frames.shape[1:3]
    gap = np.full((height, max(1, width // 24), 3), 255, np.uint8)
    cell = np.concatenate([frames[0], gap, frames[0]], axis=1)
    numbers = style.pairs.numbers(len(frames))
    figure, axes = make_grid(
        len(chosen),
        len(frames) - 1,
        cell_size(cell, 1.8),
        f'{style.title}\no and x: the point that both frames of a pair share; '
        'cos: similarity of their aligned features',
        captions=0.2)
    for row, (layer, own) in zip(axes, chosen.items()):
        row[0].set_ylabel(f'block {layer}', fontsize=9)
        masks = compute_masks(own, size, style)[0].numpy()
        pixels = to_pixels(own, size, style.patch_size)
        for pair, axis in enumerate(row):
            earlier, later = shade(frames[list(numbers[pair])], masks[pair])
            axis.imshow(np.concatenate([earlier, gap, later], axis=1))
            mark(axis, pixels[pair, 0], 'o')
            offset = width + gap.shape[1]
            mark(axis, pixels[pair, 1] + [offset, 0], 'x')
            axis.set_xlabel(
                f'cos {cosines[layer][pair]:.2f}', fontsize=8, labelpad=2)
            axis.spines[:].set_visible(False)
    for (earlier, later), axis in zip(numbers, axes[0]):
        axis.set_title(f't = {earlier}, {later}', fontsize=9)
    return figure
