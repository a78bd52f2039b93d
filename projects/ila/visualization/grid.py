import textwrap
from typing import Dict, Optional, Sequence, Tuple

import numpy as np
from matplotlib.figure import Figure

# All in inches.
LABELS = 0.35  # left of the pictures
HEADINGS = 0.25  # above them
LINE = 0.17  # of the title
GAP = 0.06  # between columns and at the edges
CHARACTER = 0.085  # of the title, on average


def make_grid(rows: int,
              columns: int,
              cell: Tuple[float, float],
              title: str = '',
              captions: float = 0.,
              right: float = GAP) -> Tuple[Figure, np.ndarray]:
    """Make axes for pictures in rows and columns, without overlaps.

    Sizes are set and not searched for, as matplotlib's own layouts do, so that
    a picture is as large in every figure, and hundreds of them take less time.

    Args:
        rows (int): Number of rows.
        columns (int): Number of columns.
        cell (tuple[float, float]): Width and height of a picture in inches.
        title (str): Lines above all pictures; long ones are wrapped.
        captions (float): Inches below each picture. Defaults to 0.
        right (float): Inches at the right of the pictures.

    Returns:
        tuple[Figure, np.ndarray]: The figure, to be saved by the caller; it
        needs no closing. Its axes, ``(rows, columns)``, without ticks.
    """
    width, height = cell
    row_gap = captions + GAP
    total_width = LABELS + columns * (width + GAP) - GAP + right
    limit = int((total_width - 2 * GAP) / CHARACTER)
    lines = [
        part for line in title.splitlines()
        for part in textwrap.wrap(line, limit)
    ]
    top = GAP + LINE * len(lines) + HEADINGS
    total_height = top + rows * (height + row_gap)
    figure = Figure((total_width, total_height))
    axes = figure.subplots(
        rows,
        columns,
        squeeze=False,
        gridspec_kw=dict(
            left=LABELS / total_width,
            right=1 - right / total_width,
            top=1 - top / total_height,
            bottom=row_gap / total_height,
            wspace=GAP / width,
            hspace=row_gap / height))
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    # Names of files and classes are no formulas, whatever is in them.
    figure.suptitle(
        '\n'.join(lines),
        y=1 - GAP / total_height,
        fontsize=10,
        linespacing=1.2,
        parse_math=False)
    return figure, axes


def choose_blocks(
        values: np.ndarray,
        layers: Optional[Sequence[int]] = None,
        blocks: Optional[Sequence[int]] = None) -> Dict[int, np.ndarray]:
    """Choose the blocks to draw.

    Args:
        values (np.ndarray): ``(blocks, ...)``.
        layers (Sequence[int], optional): Numbers of the blocks to draw.
            Defaults to all.
        blocks (Sequence[int], optional): Numbers of the blocks that the
            values are of. Defaults to 0, 1 and so on.

    Returns:
        dict[int, np.ndarray]: Their values by number, in the order of
        ``layers``.
    """
    named = dict(zip(range(len(values)) if blocks is None else blocks, values))
    return named if layers is None else {x: named[x] for x in layers}


def cell_size(frame: np.ndarray, width: float) -> Tuple[float, float]:
    """Get the size in inches of a picture of some width.

    Args:
        frame (np.ndarray): ``(H, W, 3)``.
        width (float): Its width in inches.
    """
    return width, width * frame.shape[0] / frame.shape[1]
