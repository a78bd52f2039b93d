"""Figures that a small shape draws, like a fingertip in the air.

They are another kind of videos than the levels of ``rendering.py``: the shape,
a tenth of the frame, follows one of five paths over a still background. Labels
``2 k`` and ``2 k + 1`` are the same path in both directions, so that shuffled
frames leave a guess between two labels. A single frame tells a little, since
paths differ in how often the shape is at a position.
"""
import numpy as np

FIGURES = (
    'line to the left',
    'line to the right',
    'line up',
    'line down',
    'circle counterclockwise',
    'circle clockwise',
    'caret from right to left',
    'caret from left to right',
    'zigzag up',
    'zigzag down',
)

# Corners of the paths of odd labels: x and y, where y points down. The circle
# is drawn as 32 lines.
_TURNS = 2 * np.pi * np.arange(33) / 32
_PATHS = (
    [(-1, 0), (1, 0)],
    [(0, -1), (0, 1)],
    np.stack([np.sin(_TURNS), -np.cos(_TURNS)], axis=1),
    [(-1, 1), (0, -1), (1, 1)],
    [(-1, -1), (1, -1), (-1, 1), (1, 1)],
)

# Smallest and largest half width and height, in frame sides.
_HALF = (0.22, 0.32)
_TILT = np.pi / 18
_MARGIN = 0.08
# Largest fraction of the clip in which the shape waits, at either end.
_WAIT = 0.15


def draw_path(label: int, num_frames: int,
              rng: np.random.Generator) -> np.ndarray:
    """Get the position of the shape in each frame.

    Args:
        label (int): Index into ``FIGURES``.
        num_frames (int): Number of frames, T.
        rng (np.random.Generator): Draws size, tilt, position and pace, which
            do not depend on the label.

    Returns:
        np.ndarray: Shape (T, 2): x and y in frame sides, from 0 to 1.
    """
    half, middle = rng.uniform(*_HALF, 2), rng.random(2)
    tilt = rng.uniform(-_TILT, _TILT)
    wait = rng.uniform(0, _WAIT, 2)
    pace = rng.uniform(0.7, 1.4)

    path, forward = divmod(label, 2)
    corners = np.array(_PATHS[path], float)
    lengths = np.hypot(*np.diff(corners, axis=0).T)
    share = np.arange(num_frames) / (num_frames - 1)
    share = np.clip((share - wait[0]) / (1 - wait.sum()), 0, 1)**pace
    if not forward:
        share = share[::-1]
    at = np.append(0, lengths.cumsum()) / lengths.sum()
    places = np.stack([np.interp(share, at, side) for side in corners.T], 1)
    turn = np.array([[np.cos(tilt), -np.sin(tilt)],
                     [np.sin(tilt), np.cos(tilt)]])
    places = places * half @ turn.T
    # The whole path must be visible.
    reach = np.abs(corners * half @ turn.T).max(0) + _MARGIN
    return reach + (1 - 2 * reach) * middle + places
