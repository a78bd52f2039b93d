"""Rendering of videos whose classes differ only in motion.

Each video shows one two-tone, ringed shape (the *target*) over a cluttered
background. Its state is described in ``motions.py``. There are several levels;
each adds something to the one before it:

====== ============== =================================================
level  name           what it adds
====== ============== =================================================
0                     the target with one of ten motions; the rest is still
1      distractors    two such shapes beneath the target, at most 0.6 times
                      as large, each with its own motion
2      camera motion  background and distractors pan behind the target
3      order          one motion in the first half, another in the second
====== ============== =================================================

The level ``'figures'`` is another kind of videos, see ``figures.py``.

The target is the largest shape and is on top. The class is its motion relative
to the frame, at every level. A distractor has the motion of any class of the
level; from level 2 on, the motion of the camera is added to it.

**A single frame does not show the class.** A video's states are
``start + displacement(label, ...)``, where ``start`` is uniform on the torus
and independent of everything else. Nothing else depends on the label. A
uniform distribution on a torus does not change when it is shifted, so a frame
has the same distribution for every label.

**The order of the frames is needed.** Labels ``2 k`` and ``2 k + 1`` are the
same motion in both directions, and distractors and camera are equally likely
to move in either. So both labels have the same frames in opposite order, and
shuffled frames leave a guess between two labels.

**At level 3 the order of the halves is needed, too.** Its twelve classes are
all ordered pairs of the motions left, up and counterclockwise, and the same
pairs run backwards. Each motion is the first of two classes and the second of
two others. So one half of a video leaves a guess between two labels, and so do
both motions without their order.

This is exact for rendered frames. A decoded frame also has traces of its
neighbours if the codec is lossy. Mirroring swaps classes.
"""
from typing import Callable, NamedTuple, Optional, Sequence, Tuple, Union

import cv2
import numpy as np

from .figures import draw_path
from .motions import check_range, classes, default_frames, displacement

_RING_RATIO = 8  # ratio of the sizes of neighbouring rings

# Number of sides, and which of the distances to them bounds the shape: the
# largest (1) for convex polygons, the second (2) for stars. 0 is a circle.
_SHAPES = ((0, 1), (3, 1), (4, 1), (5, 1), (5, 2), (6, 2))

# Smallest and largest red and blue of the halves.
_WARM = ((220, 20), (255, 90))
_COOL = ((20, 220), (90, 255))

_JITTER = 1  # pixels

# Radii of the target, of a target that draws figures, and of distractors, in
# frame sides.
_TARGET = (0.32, 0.40)
_FINGER = (0.08, 0.11)
_DISTRACTOR = (0.12, 0.18)
# Smallest and largest travel of the camera over a clip, in frame sides.
_PAN = (0.4, 0.8)


def check_video(num_frames: int, size: int) -> None:
    """Refuse videos that are too short or too small, with a ValueError."""
    check_range('num_frames', num_frames, 8)
    # Rings are not visible in smaller videos.
    check_range('size', size, 32)


class _Look:
    """Random appearance of a shape: kind, size (pixels) and colours."""

    def __init__(self, rng: np.random.Generator, low: float, high: float):
        self.sides, self.rank = _SHAPES[rng.integers(len(_SHAPES))]
        self.radius = rng.uniform(low, high)
        self.warm = rng.uniform(*_WARM).astype(np.float32)
        self.cool = rng.uniform(*_COOL).astype(np.float32)

    def gauge(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Factor by which the shape must grow to reach the point (u, v)."""
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
        """Draw the shape into frames (T, S, S, 3), float32, in place.

        ``states`` are (T, 4), in periods.
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

        # Red and blue distinguish the halves. Green is shifted by a quarter of
        # a period, so that growing rings differ from shrinking ones.
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
    """Uniform path of the camera, (T, 2), in frame sides; 0 in the middle."""
    angle = 2 * np.pi * rng.random()
    travel = rng.uniform(*_PAN) * np.array([np.cos(angle), np.sin(angle)])
    steps = np.arange(num_frames) - (num_frames - 1) / 2
    return travel * steps[:, None] / num_frames


def _moved(background: np.ndarray, shifts: np.ndarray,
           size: int) -> np.ndarray:
    """The background moved by (T, 2) pixels, as (T, size, size, 3) float32.

    It is continued by its mirror images, so that there is no seam.
    """
    return np.stack([
        cv2.warpAffine(
            background,
            np.float32([[1, 0, _JITTER - x], [0, 1, _JITTER - y]]),
            (size, size),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT) for x, y in shifts
    ])


def _follow_motion(label: int, num_frames: int, level: int, start: np.ndarray,
                   draws: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """States (T, 4) of a target that moves according to its class."""
    return start + displacement(label, num_frames, *draws, level)


def _follow_figure(label: int, num_frames: int, level: str, start: np.ndarray,
                   draws: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """States (T, 4) of a target that draws the figure of its class."""
    states = np.tile(start, (num_frames, 1))
    states[:, :2] = draw_path(label, num_frames, rng)
    return states


class _Scene(NamedTuple):
    """What a level's videos show; see the module's docstring."""
    num_distractors: int = 0
    pans: bool = False
    radius: Tuple[float, float] = _TARGET
    follow: Callable[..., np.ndarray] = _follow_motion


_SCENES = {
    0: _Scene(),
    1: _Scene(num_distractors=2),
    2: _Scene(num_distractors=2, pans=True),
    3: _Scene(num_distractors=2, pans=True),
    'figures': _Scene(radius=_FINGER, follow=_follow_figure)
}


def render_states(label: int,
                  seed: Union[int, Sequence[int]],
                  num_frames: Optional[int] = None,
                  size: int = 112,
                  level: Union[int, str] = 0) -> Tuple[np.ndarray, np.ndarray]:
    """Render one video; a pure function of its arguments.

    Args:
        label (int): Index into :func:`classes`.
        seed (int or sequence of int): Seed of everything but the kind of
            motion. With the same seed, videos of all labels differ only in
            that kind, and videos of all levels have the same target and
            background.
        num_frames (int, optional): Number of frames, T. Defaults to 24, at
            level 3 to 32.
        size (int): Height and width in pixels, S.
        level (int | str): From 0 to 3, or ``'figures'``, see the module's
            docstring.

    Returns:
        tuple[np.ndarray, np.ndarray]: The video, (T, S, S, 3), uint8, RGB,
        and the target's states, (T, 4), in periods from 0 to 1.

    Raises:
        ValueError: An argument is out of its range.
    """
    count = len(classes(level))
    check_range('label', label, 0, count - 1)
    if num_frames is None:
        num_frames = default_frames(level)
    check_video(num_frames, size)
    scene = _SCENES[level]
    rng = np.random.default_rng(seed)
    # The draws must not depend on the label: see the module's docstring.
    background = _background(rng, size + 2 * _JITTER)
    target = _Look(rng, *(bound * size for bound in scene.radius))
    start, draws = rng.random(4), rng.random(2)
    jitter = rng.integers(-_JITTER, _JITTER + 1, (num_frames, 2))
    light = rng.uniform(0.8, 1.1)
    flicker = 0.05 * np.sin(
        2 * np.pi * (np.arange(num_frames) / num_frames + rng.random()))

    # Drawn last, so that everything above is the same at every level.
    distractors = []
    for _ in range(scene.num_distractors):
        look = _Look(rng, _DISTRACTOR[0] * size, _DISTRACTOR[1] * size)
        path = displacement(
            rng.integers(count), num_frames, *rng.random(2), level)
        distractors.append((look, rng.random(4) + path))
    shifts = jitter + (size * _pan(rng, num_frames) if scene.pans else 0)

    frames = _moved(background, shifts, size)
    for look, states in distractors:
        states[:, :2] += shifts / size
        look.paint(frames, states % 1)
    states = scene.follow(label, num_frames, level, start, draws, rng)
    states[:, :2] += jitter / size
    states %= 1
    target.paint(frames, states)
    frames *= (light + flicker).astype(np.float32)[:, None, None, None]
    return np.clip(frames, 0, 255).astype(np.uint8), states


def render_video(*args, **kwargs) -> np.ndarray:
    """Render one video, see :func:`render_states`, without the states."""
    return render_states(*args, **kwargs)[0]
