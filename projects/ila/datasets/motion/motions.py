"""The classes of the generated videos: how the target moves.

The target's state is four numbers. Only their value modulo 1 matters, so that
a state is a point on a torus:

====== ============= ==================================================
index  quantity      one period
====== ============= ==================================================
0, 1   position x, y the frame's side (the target wraps around its edges)
2      angle         a full turn (its warm and its cool half show it)
3      ring phase    from one ring to the next, on a logarithmic scale
====== ============= ==================================================
"""
from itertools import permutations
from typing import Optional, Tuple, Union

import numpy as np

from .figures import FIGURES

CLASSES = (
    'moving left',
    'moving right',
    'moving up',
    'moving down',
    'turning counterclockwise',
    'turning clockwise',
    'rings shrinking',
    'rings growing',
    'circling counterclockwise',
    'circling clockwise',
)

# First and second motion of the classes of level 3: pairs of left, up and
# counterclockwise, each followed by the same pair run backwards.
_ORDERS = tuple(order for first, second in permutations((0, 2, 4), 2)
                for order in ((first, second), (second ^ 1, first ^ 1)))

# Smallest and largest travel of each pair of classes over a clip, in periods.
# If eight frames are sampled, one from each eighth of the clip, neighbours are
# up to a quarter of the clip apart: less than half a period, so that no motion
# is aliased. At level 3 motions are as fast but half as long, so this holds.
_TRAVEL = ((0.9, 1.3), (0.9, 1.3), (1.0, 1.4), (1.1, 1.5), (1.0, 1.4))
_CIRCLE_RADIUS = 0.22  # of the frame's side


def check_range(name: str,
                value: int,
                least: int,
                greatest: Optional[int] = None) -> None:
    """Refuse an argument that is out of its range, with a ValueError."""
    if value < least or greatest is not None and value > greatest:
        bounds = (f'at least {least}'
                  if greatest is None else f'from {least} to {greatest}')
        raise ValueError(f'{name} must be {bounds}, got {value}')


def classes(level: Union[int, str] = 0) -> Tuple[str, ...]:
    """Names of a level's classes; a ValueError if there is no such level."""
    if level == 'figures':
        return FIGURES
    if isinstance(level, str):
        raise ValueError("level must be a number from 0 to 3 or 'figures', "
                         f"got '{level}'")
    check_range('level', level, 0, 3)
    if level < 3:
        return CLASSES
    return tuple(f'{CLASSES[first]} then {CLASSES[second]}'
                 for first, second in _ORDERS)


def default_frames(level: Union[int, str]) -> int:
    """Number of frames of a level's videos: 24, and 32 for two motions."""
    return 32 if level == 3 else 24


def _path(label: int, steps: np.ndarray, num_frames: int, amount: float,
          phase: float) -> np.ndarray:
    """Path of one motion after ``steps`` frames."""
    motion, forward = divmod(label, 2)
    low, high = _TRAVEL[motion]
    travel = (low + (high - low) * amount) * steps / num_frames
    if not forward:
        travel = -travel
    path = np.zeros((num_frames, 4))
    if motion < 4:
        path[:, motion] = travel
    else:
        angles = 2 * np.pi * (travel + phase)
        path[:, 0] = _CIRCLE_RADIUS * (np.cos(angles) - np.cos(angles[0]))
        path[:, 1] = _CIRCLE_RADIUS * (np.sin(angles) - np.sin(angles[0]))
    return path


def displacement(label: int,
                 num_frames: int,
                 amount: float,
                 phase: float,
                 level: int = 0) -> np.ndarray:
    """Path of the target's state, relative to its first frame.

    Args:
        label (int): Index into :func:`classes`.
        num_frames (int): Number of frames, T.
        amount (float): Travel, from its smallest (0) to its largest (1)
            value.
        phase (float): Where a circling target starts on its circle, in turns.
        level (int): From 0 to 3.

    Returns:
        np.ndarray: Shape (T, 4): x, y, angle and ring phase, in periods. y
        points down, angles grow clockwise.
    """
    steps = np.arange(num_frames)
    if level < 3:
        return _path(label, steps, num_frames, amount, phase)
    # From first to last frame; the middle step may be half of each motion.
    middle = (num_frames - 1) / 2
    first, second = _ORDERS[label]
    return (
        _path(first, np.minimum(steps, middle), num_frames, amount, phase) +
        _path(second, np.maximum(steps - middle, 0), num_frames, amount,
              phase))
