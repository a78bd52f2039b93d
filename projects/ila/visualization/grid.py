import textwrap
from typing import Tuple

import numpy as np
from matplotlib.figure import Figure

# All in inches.
LABELS = 0.35  # left of the pictures
HEADINGS = 0.25  # above the pictures
LINE = 0.17  # height of a line of the title
GAP = 0.06  # between columns and at the edges
CHARACTER = 0.085  # mean width of a character of the title


def make_grid(rows: int,
              columns: int,
              cell: Tuple[float, float],
              title: str = '',
              captions: float = 0.,
              right: float = GAP) -> Tuple[Figure, np.ndarray]:
    """Make axes for pictures in rows and columns, without overlaps.

    Sizes are computed directly. Matplotlib's own layouts search for them,
    which is slow for hundreds of pictures.

    Args:
        cell (tuple[float, float]): Width and height of a picture in inches.
        title (str): Lines above all pictures; long ones are wrapped.
        captions (float): Inches below each picture.
        right (float): Inches at the right of the pictures.

    Returns:
        tuple[Figure, np.ndarray]: The figure, which need not be closed, and
        its axes, ``(rows, columns)``, without ticks.
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
    # Names of files and classes must not be parsed as formulas.
    figure.suptitle(
        '\n'.join(lines),
        y=1 - GAP / total_height,
        fontsize=10,
        linespacing=1.2,
        parse_math=False)
    return figure, axes


def cell_size(frame: np.ndarray, width: float) -> Tuple[float, float]:
    """Size in inches of a picture ``(H, W, 3)``, from its width in inches."""
    return width, width * frame.shape[0] / frame.shape[1]
