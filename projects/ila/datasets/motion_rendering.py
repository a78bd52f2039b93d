"""Rendering of videos whose classes differ in motion alone.

Each video shows one two-tone, ringed shape (the *target*) over a cluttered
background. The target's state is four numbers of which each matters modulo 1
only, so that a state is a point on a torus:

====== ============= ==================================================
index  quantity      one period
====== ============= ==================================================
0, 1   position x, y the frame's side (the target wraps around its edges)
2      angle         a full turn (its warm and its cool half show it)
3      ring phase    from one ring to the next, on a logarithmic scale
====== ============= ==================================================

Videos come in levels, each with all that the one before it has:

====== ============== =================================================
level  name           what it adds
====== ============== =================================================
0                     the target with one of ten motions; all else is still
1      distractors    two such shapes beneath the target, at most 0.6 times
                      as large, each with a motion of its own
2      camera motion  background and distractors pan behind the target
3      order          one motion in the first half, another in the second
====== ============== =================================================

The target is the largest shape and the one on top. Its class is its motion
relative to the frame, at every level. A distractor's motion is any of the
level's classes; from level 2 on the camera's is added to it.

The states of a video are ``start + displacement(label, ...)``. ``start`` is
uniform on the torus and independent of all else: of the label, of the travel,
and of the surroundings, which are looks (shape, size, colours, background,
light, camera jitter), the distractors with their motions, and the camera's.
These themselves do not depend on the label.

**A single frame tells nothing.** Take any frame index ``t`` and any label.
Given the label, the travel and the surroundings, ``d = displacement(...)[t]``
is one fixed vector. A uniform distribution on a torus stays the same when it
is shifted, hence ``start + d`` is uniform whatever ``d`` is, and so it is
independent of the label. The frame is a function of that state and of the
surroundings, therefore its distribution is the same for every label and ``t``
up to level 1, and for every label from level 2 on.

**The order of the frames is needed.** Labels ``2 k`` and ``2 k + 1`` are one
motion run both ways: the displacements of one, reversed, are those of the
other up to a constant (and, on a circle, another uniform starting point),
which the uniform start absorbs. So it is with a distractor, whose motion is as
likely to be the one as the other, and with the camera, which pans through the
same view in the middle of the video in any direction. Both labels hold the
same frames in opposite order, and shuffled frames leave no more than one of
two to guess.

**At level 3 the order of the halves is needed, too.** Its twelve classes are
all ordered pairs of two of the motions left, up and counterclockwise, and
those pairs run backwards, which are all ordered pairs of their opposites. Each
motion is the first of two classes and the second of two others, so that one
half of a video, whose start is uniform as well, leaves one of two to guess. So
do the two motions without their order, which are those of two classes.

This is exact for rendered frames. A decoded frame also carries what a lossy
codec left of its neighbours.

Mirroring swaps classes, so train without MMAction2's ``Flip``.
"""
from itertools import permutations
from typing import Optional, Sequence, Tuple, Union

import cv2
import numpy as np

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

# First and second motion of the classes of level 3: left, up and
# counterclockwise, each followed by its pair run backwards.
_ORDERS = tuple(order for first, second in permutations((0, 2, 4), 2)
                for order in ((first, second), (second ^ 1, first ^ 1)))

# Least and greatest travel of each pair of classes over a clip, in periods.
# Of eight frames, sampled one per eighth of the clip, neighbours are up to a
# quarter of it apart: less than half a period, so that no motion is aliased.
# At level 3 a motion is as fast and lasts half as long, so this holds there.
# Four of eight frames, a quarter of the clip or more apart in all, see it go
# on for 0.22 periods or more; of sixteen frames eight see 0.33 or more.
_TRAVEL = ((0.9, 1.3), (0.9, 1.3), (1.0, 1.4), (1.1, 1.5), (1.0, 1.4))
_CIRCLE_RADIUS = 0.22  # of the frame's side
_RING_RATIO = 8  # of the sizes of neighbouring rings

# Number of sides and which of their distances, the largest or the second,
# bounds the shape: convex polygons or stars. No sides make a circle.
_SHAPES = ((0, 1), (3, 1), (4, 1), (5, 1), (5, 2), (6, 2))

# Least and greatest red and blue of the halves.
_WARM = ((220, 20), (255, 90))
_COOL = ((20, 220), (90, 255))

_JITTER = 1  # pixels

# Radii of target and distractors, of the frame's side.
_TARGET = (0.32, 0.40)
_DISTRACTOR = (0.12, 0.18)
_NUM_DISTRACTORS = 2
# Least and greatest travel of the camera over a clip, in frame sides.
_PAN = (0.4, 0.8)


def check_range(name: str,
                value: int,
                least: int,
                greatest: Optional[int] = None) -> None:
    """Refuse an argument that is out of its range, with a ValueError."""
    if value < least or greatest is not None and value > greatest:
        bounds = (f'at least {least}'
                  if greatest is None else f'from {least} to {greatest}')
        raise ValueError(f'{name} must be {bounds}, got {value}')


def check_video(num_frames: int, size: int) -> None:
    """Refuse videos that are too short or too small, with a ValueError."""
    check_range('num_frames', num_frames, 8)
    # Rings of smaller videos can not be made out.
    check_range('size', size, 32)


def classes(level: int = 0) -> Tuple[str, ...]:
    """Names of a level's classes, :data:`CLASSES` up to level 2.

    Raises:
        ValueError: There is no such level.
    """
    check_range('level', level, 0, 3)
    if level < 3:
        return CLASSES
    return tuple(f'{CLASSES[first]} then {CLASSES[second]}'
                 for first, second in _ORDERS)


def default_frames(level: int) -> int:
    """Number of frames of a level's videos: 24, and 32 for two motions."""
    return 24 if level < 3 else 32


def _path(label: int, steps: np.ndarray, num_frames: int, amount: float,
          phase: float) -> np.ndarray:
    """Path of one motion that has gone on for ``steps`` frames."""
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
    """Path of the target's state, from its first frame on.

    Args:
        label (int): Index into :func:`classes`.
        num_frames (int): Number of frames, T.
        amount (float): Where the travel lies between its least (0) and
            greatest (1) value.
        phase (float): Where on its circle, in turns, a circling target
            starts. The other motions do not depend on it.
        level (int): Defaults to 0.

    Returns:
        np.ndarray: Shape (T, 4): x, y, angle and ring phase, in periods. y
        points down, angles grow clockwise.
    """
    steps = np.arange(num_frames)
    if level < 3:
        return _path(label, steps, num_frames, amount, phase)
    # From first to last frame; the step in the middle may be half and half.
    middle = (num_frames - 1) / 2
    first, second = _ORDERS[label]
    return (
        _path(first, np.minimum(steps, middle), num_frames, amount, phase) +
        _path(second, np.maximum(steps - middle, 0), num_frames, amount,
              phase))


class _Look:
    """Random looks of a shape: kind, size (pixels) and colours."""

    def __init__(self, rng: np.random.Generator, low: float, high: float):
        self.sides, self.rank = _SHAPES[rng.integers(len(_SHAPES))]
        self.radius = rng.uniform(low, high)
        self.warm = rng.uniform(*_WARM).astype(np.float32)
        self.cool = rng.uniform(*_COOL).astype(np.float32)

    def gauge(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """How many times the shape must grow to reach the point (u, v)."""
        if not self.sides:
            return np.hypot(u, v)
        largest = np.full_like(u, -np.inf)
        second = largest.copy()
        for angle in 2 * np.pi * np.arange(self.sides) / self.sides:
            distance = np.float32(np.cos(angle)) * u
            distance += np.float32(np.sin(angle)) * v
            np.maximum(second, np.minimum(largest, distance), out=second)
            np.maximum(largest, distance, out=largest)
        bound = largest if self.rank == 1 else second
        return bound / np.float32(np.cos(np.pi * self.rank / self.sides))

    def paint(self, frames: np.ndarray, states: np.ndarray) -> None:
        """Draw the shape in place.

        Args:
            frames (np.ndarray): Shape (T, S, S, 3), float32.
            states (np.ndarray): Shape (T, 4), in periods.
        """
        size = frames.shape[1]
        centers = states[:, :2] * size
        corners = np.floor(centers).astype(int)
        reach = int(self.radius) + 2
        offsets = np.arange(-reach, reach + 1)
        local = (corners - centers)[:, :, None] + offsets
        dx, dy = (local / self.radius).astype(np.float32).swapaxes(0, 1)
        dx, dy = dx[:, None, :], dy[:, :, None]
        turns = 2 * np.pi * states[:, 2, None, None]
        cos, sin = (f(turns).astype(np.float32) for f in (np.cos, np.sin))
        u, v = cos * dx + sin * dy, cos * dy - sin * dx

        gauge = np.maximum(self.gauge(u, v), np.float32(1e-3))
        phase = np.log(gauge) / np.float32(np.log(_RING_RATIO))
        phase -= states[:, 3, None, None].astype(np.float32)
        phase *= 2 * np.pi
        # The rings would become infinitely fine towards the centre.
        contrast = np.clip(3 * gauge - 0.3, 0, 0.5)
        dark, green = (
            wave(phase) * contrast + np.float32(0.5)
            for wave in (np.sin, np.cos))
        half = np.clip(u * self.radius + 0.5, 0, 1)[..., None]
        cover = np.clip((1 - gauge) * self.radius + 0.5, 0, 1)[..., None]

        # Red and blue tell the halves apart. Green is a quarter of a period
        # off them: the colour of the whole target takes another course as
        # rings grow than as they shrink.
        red_blue = self.cool + (self.warm - self.cool) * half
        red_blue *= 1 - 0.8 * dark[..., None]
        color = np.insert(red_blue, 1, 20 + 230 * green, axis=-1)
        where = (np.arange(len(frames))[:, None, None],
                 (corners[:, 1, None] + offsets)[:, :, None] % size,
                 (corners[:, 0, None] + offsets)[:, None, :] % size)
        behind = frames[where]
        frames[where] = behind + (color - behind) * cover


def _background(rng: np.random.Generator, size: int) -> np.ndarray:
    """A random texture with random still shapes, (size, size, 3) float32."""
    image = np.full((size, size, 3), 40, np.float32)
    for cells, contrast in ((3, 80), (16, 60)):
        noise = rng.random((cells, cells, 1), np.float32) * contrast
        noise = noise + rng.random((cells, cells, 3), np.float32) * 30
        image += cv2.resize(
            noise, (size, size), interpolation=cv2.INTER_LINEAR)
    for _ in range(8):
        corners = rng.uniform(0, 2 * np.pi, rng.integers(3, 7))
        outline = np.stack([np.cos(corners), np.sin(corners)], axis=1)
        outline *= rng.uniform(0.04, 0.12, 2) * size
        outline += rng.uniform(0, size, 2)
        color = rng.uniform(20, 200) + rng.uniform(-25, 25, 3)
        cv2.fillPoly(image, [np.int32(outline[np.argsort(corners)])], color)
    for _ in range(2):
        _Look(rng, 0.06 * size, 0.10 * size).paint(image[None],
                                                   rng.random((1, 4)))
    # Paler than the target.
    return 30 + image / 2


def _pan(rng: np.random.Generator, num_frames: int) -> np.ndarray:
    """Steady random path of the camera's view, (T, 2), in frame sides.

    It is at (0, 0) in the middle of the video.
    """
    angle = 2 * np.pi * rng.random()
    travel = rng.uniform(*_PAN) * np.array([np.cos(angle), np.sin(angle)])
    steps = np.arange(num_frames) - (num_frames - 1) / 2
    return travel * steps[:, None] / num_frames


def _moved(background: np.ndarray, shifts: np.ndarray,
           size: int) -> np.ndarray:
    """The background moved by (T, 2) pixels, as (T, size, size, 3) float32.

    Its mirror images continue it, so that no seam tells where it ends.
    """
    return np.stack([
        cv2.warpAffine(
            background,
            np.float32([[1, 0, _JITTER - x], [0, 1, _JITTER - y]]),
            (size, size),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT) for x, y in shifts
    ])


def render_states(label: int,
                  seed: Union[int, Sequence[int]],
                  num_frames: Optional[int] = None,
                  size: int = 112,
                  level: int = 0) -> Tuple[np.ndarray, np.ndarray]:
    """Render one video, and tell the target's states.

    Args: See :func:`render_video`.

    Returns:
        tuple[np.ndarray, np.ndarray]: The video, see :func:`render_video`,
        and the states, shape (T, 4), in periods from 0 to 1.

    Raises:
        ValueError: An argument is out of its range.
    """
    count = len(classes(level))
    check_range('label', label, 0, count - 1)
    if num_frames is None:
        num_frames = default_frames(level)
    check_video(num_frames, size)
    rng = np.random.default_rng(seed)
    # The draws must not depend on the label: see the module's docstring.
    background = _background(rng, size + 2 * _JITTER)
    target = _Look(rng, _TARGET[0] * size, _TARGET[1] * size)
    start = rng.random(4)
    amount, phase = rng.random(2)
    jitter = rng.integers(-_JITTER, _JITTER + 1, (num_frames, 2))
    light = rng.uniform(0.8, 1.1)
    flicker = 0.05 * np.sin(
        2 * np.pi * (np.arange(num_frames) / num_frames + rng.random()))

    # Drawn last: what is above is the same at every level.
    distractors = []
    for _ in range(_NUM_DISTRACTORS if level >= 1 else 0):
        look = _Look(rng, _DISTRACTOR[0] * size, _DISTRACTOR[1] * size)
        path = displacement(
            rng.integers(count), num_frames, *rng.random(2), level)
        distractors.append((look, rng.random(4) + path))
    shifts = jitter + (size * _pan(rng, num_frames) if level >= 2 else 0)

    frames = _moved(background, shifts, size)
    for look, states in distractors:
        states[:, :2] += shifts / size
        look.paint(frames, states % 1)
    states = start + displacement(label, num_frames, amount, phase, level)
    states[:, :2] += jitter / size
    states %= 1
    target.paint(frames, states)
    frames *= (light + flicker).astype(np.float32)[:, None, None, None]
    return np.clip(frames, 0, 255).astype(np.uint8), states


def render_video(label: int,
                 seed: Union[int, Sequence[int]],
                 num_frames: Optional[int] = None,
                 size: int = 112,
                 level: int = 0) -> np.ndarray:
    """Render one video; a pure function of its arguments.

    Args:
        label (int): Index into :func:`classes`.
        seed (int or sequence of int): Seed of everything but the motion's
            kind: with one seed, the videos of all labels differ in it only,
            and those of all levels have the same target and background.
        num_frames (int, optional): Number of frames, T. Defaults to 24, at
            level 3 to 32.
        size (int): Height and width in pixels, S. Defaults to 112.
        level (int): From 0 to 3, see the module's docstring. Defaults to 0.

    Returns:
        np.ndarray: Shape (T, S, S, 3), uint8, RGB.

    Raises:
        ValueError: An argument is out of its range.
    """
    return render_states(label, seed, num_frames, size, level)[0]
