from typing import Optional, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from ..models.alignment import Pairs, pair_masks
from .grid import cell_size, choose_blocks, make_grid

LEGEND = 'o: point shared with the next frame, x: with the one before'


def legend(pairs: Pairs) -> str:
    """Say what the points are."""
    if pairs.target == 'neighbour':
        return LEGEND
    return ('o: point shared with a later frame, x: with an earlier one; '
            f'all pairs with the {pairs.target} frame')


def to_pixels(points: np.ndarray, size: Sequence[int],
              patch_size: int) -> np.ndarray:
    """Convert points from grid units to pixels.

    Args:
        points (np.ndarray): ``(..., 2)``, x and y. -1 and 1 are the centres
            of the outermost patches.
        size (Sequence[int]): Height and width of the patch grid.
        patch_size (int): Pixels per side of a patch.

    Returns:
        np.ndarray: ``(..., 2)``; the centre of the first pixel is 0.
    """
    patches = (points + 1) / 2 * (np.array(size)[::-1] - 1)
    return (patches + 0.5) * patch_size - 0.5


def shade(frames: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Darken frames where their masks are low.

    Args:
        frames (np.ndarray): ``(..., H, W, 3)``, uint8.
        masks (np.ndarray): ``(..., h, w)``, weights of the patches.

    Returns:
        np.ndarray: Like ``frames``.
    """
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
        # Seen on red frames as well.
        path_effects=[withStroke(linewidth=2.5, foreground='white')])


def frame_masks(points: np.ndarray,
                size: Sequence[int],
                radius: float,
                slope: float,
                pairs: Pairs = Pairs()) -> np.ndarray:
    """Compute the masks of a video's frames.

    Args:
        points (np.ndarray): ``(T - 1, 2, [K,] 2)``, of one block.
        size (Sequence[int]): Height and width of the patch grid.
        radius (float): See :func:`soft_mask`.
        slope (float): See :func:`soft_mask`.
        pairs (Pairs): Which frames are aligned. Defaults to neighbours.

    Returns:
        np.ndarray: ``(T, h, w)``.
    """
    masks = pair_masks(torch.as_tensor(points)[None], size, radius, slope)
    return pairs.merge(masks)[0].numpy()


def show_frame(axis: Axes,
               t: int,
               frames: np.ndarray,
               masks: np.ndarray,
               points: np.ndarray,
               pairs: Pairs = Pairs()) -> None:
    """Show a frame with its mask and its points.

    Args:
        axis (Axes): Where to.
        t (int): Number of the frame.
        frames (np.ndarray): ``(T, H, W, 3)``, uint8, RGB.
        masks (np.ndarray): ``(T, h, w)``.
        points (np.ndarray): ``(T - 1, 2, [K,] 2)``, in pixels.
        pairs (Pairs): Which frames are aligned. Defaults to neighbours.
    """
    axis.imshow(shade(frames[t], masks[t]))
    for pair, shown in zip(pairs.numbers(len(frames)), points):
        if t in pair:
            side = pair.index(t)
            mark(axis, shown[side], 'ox'[side])


def draw_alignment(frames: np.ndarray,
                   points: np.ndarray,
                   radius: float = 0.25,
                   slope: float = 1.5,
                   layers: Optional[Sequence[int]] = None,
                   patch_size: int = 1,
                   title: str = '',
                   pairs: Pairs = Pairs(),
                   blocks: Optional[Sequence[int]] = None) -> Figure:
    """Draw a video's frames with their interactive points and masks.

    One row shows the frames, one more per block shows them as its soft masks
    weight them. A circle is the point that a frame shares with the next one,
    or any later one, a cross that with the one before, or any earlier one.

    Args:
        frames (np.ndarray): ``(T, H, W, 3)``, uint8, RGB.
        points (np.ndarray): ``(layers, T - 1, 2, [K,] 2)``, see
            ``ILAFeatures``.
        radius (float): See :func:`soft_mask`. Defaults to 0.25.
        slope (float): See :func:`soft_mask`. Defaults to 1.5.
        layers (Sequence[int], optional): Numbers of the blocks to draw.
            Defaults to all.
        patch_size (int): Pixels per side of a patch. The masks are those of
            the patches; with 1, the default, they are smooth, and points at
            the edge are up to half a patch too far out.
        title (str): Title of the drawing. Defaults to none.
        pairs (Pairs): Which frames are aligned. Defaults to neighbours.
        blocks (Sequence[int], optional): Numbers of the blocks that the
            values are of, ``temporal_layers`` of an ``ILABackbone``.
            Defaults to 0, 1 and so on.

    Returns:
        Figure: The drawing, to be saved by the caller.
    """
    chosen = choose_blocks(points, layers, blocks)
    size = [side // patch_size for side in frames.shape[1:3]]
    figure, axes = make_grid(
        len(chosen) + 1, len(frames), cell_size(frames[0], 1.3),
        f'{title}\n{legend(pairs)}')
    axes[0, 0].set_ylabel('frames', fontsize=9)
    for t, frame in enumerate(frames):
        axes[0, t].imshow(frame)
        axes[0, t].set_title(f't = {t}', fontsize=9)

    for row, (layer, own) in zip(axes[1:], chosen.items()):
        row[0].set_ylabel(f'block {layer}', fontsize=9)
        masks = frame_masks(own, size, radius, slope, pairs)
        pixels = to_pixels(own, size, patch_size)
        for t, axis in enumerate(row):
            show_frame(axis, t, frames, masks, pixels, pairs)
    return figure


def draw_pairs(frames: np.ndarray,
               points: np.ndarray,
               similarities: np.ndarray,
               radius: float = 0.25,
               slope: float = 1.5,
               layers: Optional[Sequence[int]] = None,
               patch_size: int = 1,
               title: str = '',
               pairs: Pairs = Pairs(),
               blocks: Optional[Sequence[int]] = None) -> Figure:
    """Draw every pair of frames in every block.

    Rows are blocks, columns are pairs. Both frames have the pair's own masks
    and points: a circle in the earlier and a cross in the later one. Below
    stands how similar their aligned features are.

    Args:
        similarities (np.ndarray): ``(layers, T - 1)``, cosines; see
            :func:`record_similarities`.

    The other arguments and the result are those of :func:`draw_alignment`.
    """
    chosen = choose_blocks(points, layers, blocks)
    cosines = choose_blocks(similarities, layers, blocks)
    height, width = frames.shape[1:3]
    size = height // patch_size, width // patch_size
    gap = np.full((height, max(1, width // 24), 3), 255, np.uint8)
    cell = np.concatenate([frames[0], gap, frames[0]], axis=1)
    numbers = pairs.numbers(len(frames))
    figure, axes = make_grid(
        len(chosen),
        len(frames) - 1,
        cell_size(cell, 1.8),
        f'{title}\no and x: the point that both frames of a pair share; cos: '
        'similarity of their aligned features',
        captions=0.2)
    for row, (layer, own) in zip(axes, chosen.items()):
        row[0].set_ylabel(f'block {layer}', fontsize=9)
        masks = pair_masks(torch.as_tensor(own)[None], size, radius, slope)[0]
        pixels = to_pixels(own, size, patch_size)
        for pair, axis in enumerate(row):
            earlier, later = shade(frames[list(numbers[pair])],
                                   masks[pair].numpy())
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
