"""A ball that rolls over a table along the paths of ``figures.py``.

No model is trained on it: it shows what a model that was trained on figures
follows in other scenes.
"""
from typing import Sequence, Tuple, Union

import cv2
import numpy as np

from .figures import draw_path

_RADIUS = 0.075  # of the balls, in frame sides
_FELT = (18, 98, 66)
_COLORS = ((205, 160, 20), (20, 50, 140), (150, 25, 30), (85, 30, 110),
           (215, 95, 20), (25, 25, 25))
_LIGHT = np.array([-0.45, -0.55, 0.70])  # towards the lamp; unit length
_STILL = 4  # balls that lie on the table
_TOO_NEAR = 2.6  # distance of balls at rest from all paths, in radii
_OVERSAMPLING = 2


def _table(rng: np.random.Generator, size: int) -> np.ndarray:
    """Felt under a lamp, ``(size, size, 3)``, float32."""
    y, x = np.mgrid[:size, :size] / size - np.float32(0.5)
    light = 1.15 - 1.1 * ((x + 0.15)**2 + (y + 0.2)**2)
    fibres = rng.standard_normal((size, size), np.float32)
    fibres = cv2.GaussianBlur(fibres, (9, 3), 0) * 3
    clouds = cv2.resize(rng.standard_normal((6, 6), np.float32), (size, size))
    light *= 1 + 0.05 * fibres + 0.03 * clouds
    return (light[..., None] * _FELT).astype(np.float32)


def _window(image: np.ndarray, center: np.ndarray,
            reach: float) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A view of the image around a point, and the pixels' offsets from it."""
    x, y = (np.arange(
        max(int(middle - reach), 0), min(int(middle + reach), side))
            for middle, side in zip(center, image.shape[1::-1]))
    view = image[y[0]:y[-1] + 1, x[0]:x[-1] + 1]
    return view, (x - center[0])[None, :], (y - center[1])[:, None]


def _cast_shadow(image: np.ndarray, center: np.ndarray, radius: float) -> None:
    center = center - 0.8 * radius * _LIGHT[:2]
    view, x, y = _window(image, center, 2 * radius)
    distance = np.hypot(x, y) / (1.1 * radius)
    view *= (1 - 0.6 * np.exp(-distance**4))[..., None].astype(np.float32)


def _paint_ball(image: np.ndarray, center: np.ndarray, radius: float,
                color: Sequence[int], turn: np.ndarray) -> None:
    """Paint a striped ball in place; ``turn`` is its rotation, (3, 3)."""
    view, x, y = _window(image, center, radius + 2)
    x, y = np.broadcast_arrays(x / radius, y / radius)
    square = x**2 + y**2
    normals = np.stack([x, y, np.sqrt(np.clip(1 - square, 0, 1))], axis=-1)
    # The distance from the ball's own equator.
    latitude = np.abs(normals @ turn[:, 1])
    band = np.clip((0.6 - latitude) * radius / 2 + 0.5, 0, 1)[..., None]
    paint = band * color + (1 - band) * np.array([235, 230, 215])
    facing = normals @ _LIGHT
    mirrored = np.clip(2 * facing * normals[..., 2] - _LIGHT[2], 0, 1)
    shaded = paint * (0.25 + 0.8 * np.clip(facing, 0, 1)[..., None])
    shaded += 230 * mirrored[..., None]**50
    cover = np.clip((1 - np.sqrt(square)) * radius + 0.5, 0, 1)[..., None]
    view += ((shaded - view) * cover).astype(np.float32)


def _roll(places: np.ndarray, radius: float,
          turn: np.ndarray) -> Sequence[np.ndarray]:
    """Rotations of a ball rolling along ``(T, 2)``, starting at ``turn``."""
    turns = [turn]
    for x, y in np.diff(places, axis=0):
        # Around the axis in the table plane that is normal to its path.
        step, _ = cv2.Rodrigues(np.array([-y, x, 0.]) / radius)
        turns.append(step @ turns[-1])
    return turns


def render_billiards(label: int,
                     seed: Union[int, Sequence[int]],
                     num_frames: int = 24,
                     size: int = 256) -> np.ndarray:
    """Render one video; a pure function of its arguments.

    Args:
        label (int): Index into the classes of the figures.
        seed (int or sequence of int): Seed of everything else.
        num_frames (int): Number of frames, T.
        size (int): Height and width in pixels, S.

    Returns:
        np.ndarray: ``(T, S, S, 3)``, uint8, RGB.
    """
    rng = np.random.default_rng(seed)
    large = _OVERSAMPLING * size
    radius = _RADIUS * large
    places = draw_path(label, num_frames, rng) * large
    table = _table(rng, large)
    colors = rng.permutation(_COLORS)
    turns = [
        cv2.Rodrigues(turn)[0]
        for turn in rng.uniform(-np.pi, np.pi, (_STILL + 1, 3))
    ]
    taken = list(places)
    for color, turn in zip(colors[1:], turns[1:]):
        for center in rng.uniform(radius, large - radius, (100, 2)):
            if min(np.hypot(*(center - place))
                   for place in taken) > _TOO_NEAR * radius:
                _cast_shadow(table, center, radius)
                _paint_ball(table, center, radius, color, turn)
                taken.append(center)
                break
    frames = []
    for place, turn in zip(places, _roll(places, radius, turns[0])):
        frame = table.copy()
        _cast_shadow(frame, place, radius)
        _paint_ball(frame, place, radius, colors[0], turn)
        frame = cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA)
        # Noise of a camera's sensor.
        frame += 2 * rng.standard_normal(frame.shape, np.float32)
        frames.append(frame.clip(0, 255).astype(np.uint8))
    return np.stack(frames)
