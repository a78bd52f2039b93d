"""Generated videos whose classes differ in motion alone.

Each video shows one two-tone, ringed shape (the *target*) over a cluttered
still background. The target's state is four numbers of which each matters
modulo 1 only, so that a state is a point on a torus:

====== ============= ==================================================
index  quantity      one period
====== ============= ==================================================
0, 1   position x, y the frame's side (the target wraps around its edges)
2      angle         a full turn (its warm and its cool half show it)
3      ring phase    from one ring to the next, on a logarithmic scale
====== ============= ==================================================

The states of a video are ``start + displacement(label, ...)``. ``start`` is
uniform on the torus and independent of all else: of the label, of the travel,
and of the looks (shape, size, colours, background, light, camera jitter),
which themselves do not depend on the label.

**A single frame tells nothing.** Take any frame index ``t`` and any label.
Given the label and the travel, ``d = displacement(...)[t]`` is one fixed
vector. A uniform distribution on a torus stays the same when it is shifted,
hence ``start + d`` is uniform whatever ``d`` is, and so it is independent of
the label. The frame is a function of that state and of the looks, therefore
its distribution is the same for every label and every ``t``.

**The order of the frames is needed.** Labels ``2 k`` and ``2 k + 1`` are one
motion run both ways: the displacements of one, reversed, are those of the
other up to a constant (and, on a circle, another uniform starting point),
which the uniform start absorbs. Both hold the same frames in opposite order,
and shuffled frames leave no more than one of two to guess.

This is exact for rendered frames. A decoded frame also carries what a lossy
codec left of its neighbours.

Mirroring swaps classes, so train without MMAction2's ``Flip``.
"""
import json
import os
import tempfile
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import List, Sequence, Tuple, Union

import cv2
import numpy as np
from mmengine.utils import ProgressBar

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

# Least and greatest travel of each pair of classes over a clip, in periods.
# Of eight frames, sampled one per eighth of the clip, neighbours are up to a
# quarter of it apart: less than half a period, so that no motion is aliased.
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
_FPS = 24

_SPLITS = ('train', 'val')
_CLAIM = 'dataset.json'
_SCRATCH = '.part-'
_BATCH = 20  # videos per task of a worker
# To be raised when other videos come out of the same arguments.
_VERSION = 2

# Rings of smaller videos can not be made out.
_LEAST = dict(
    num_train=len(CLASSES),
    num_val=len(CLASSES),
    seed=0,
    num_frames=8,
    size=32,
    workers=1)


def displacement(label: int, num_frames: int, amount: float,
                 phase: float) -> np.ndarray:
    """Path of the target's state, from its first frame on.

    Args:
        label (int): Index into :data:`CLASSES`.
        num_frames (int): Number of frames, T.
        amount (float): Where the travel lies between its least (0) and
            greatest (1) value.
        phase (float): Where on its circle, in turns, a circling target
            starts. The other motions do not depend on it.

    Returns:
        np.ndarray: Shape (T, 4): x, y, angle and ring phase, in periods. y
        points down, angles grow clockwise.
    """
    motion, forward = divmod(label, 2)
    low, high = _TRAVEL[motion]
    travel = (low + (high - low) * amount) * np.arange(num_frames) / num_frames
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


def _check_least(**values: int) -> None:
    for name, value in values.items():
        if value < _LEAST[name]:
            raise ValueError(
                f'{name} must be at least {_LEAST[name]}, got {value}')


def render_video(label: int,
                 seed: Union[int, Sequence[int]],
                 num_frames: int = 24,
                 size: int = 112) -> np.ndarray:
    """Render one video; a pure function of its arguments.

    Args:
        label (int): Index into :data:`CLASSES`.
        seed (int or sequence of int): Seed of everything but the motion's
            kind: with one seed, the videos of all labels differ in it only.
        num_frames (int): Number of frames, T. Defaults to 24.
        size (int): Height and width in pixels, S. Defaults to 112.

    Returns:
        np.ndarray: Shape (T, S, S, 3), uint8, RGB.

    Raises:
        ValueError: An argument is out of its range.
    """
    if not 0 <= label < len(CLASSES):
        raise ValueError(
            f'label must be from 0 to {len(CLASSES) - 1}, got {label}')
    _check_least(num_frames=num_frames, size=size)
    rng = np.random.default_rng(seed)
    # The draws must not depend on the label: see the module's docstring.
    background = _background(rng, size + 2 * _JITTER)
    target = _Look(rng, 0.32 * size, 0.40 * size)
    start = rng.random(4)
    amount, phase = rng.random(2)
    jitter = rng.integers(-_JITTER, _JITTER + 1, (num_frames, 2))
    light = rng.uniform(0.8, 1.1)
    flicker = 0.05 * np.sin(
        2 * np.pi * (np.arange(num_frames) / num_frames + rng.random()))

    frames = np.stack([
        background[_JITTER - y:, _JITTER - x:][:size, :size] for x, y in jitter
    ])
    states = start + displacement(label, num_frames, amount, phase)
    states[:, :2] += jitter / size
    target.paint(frames, states % 1)
    frames *= (light + flicker).astype(np.float32)[:, None, None, None]
    return np.clip(frames, 0, 255).astype(np.uint8)


def write_video(path: Path, frames: np.ndarray, part: Path) -> None:
    """Write an MPEG-4 video; ``path`` is there only once it is whole.

    Args:
        path (Path): The video, ``.mp4``.
        frames (np.ndarray): Shape (T, H, W, 3), uint8, RGB; even H and W.
        part (Path): Where to write until then, ``.mp4``, on the same disk.

    Raises:
        OSError: OpenCV can not encode or not store the video.
    """
    writer = cv2.VideoWriter(
        str(part), cv2.VideoWriter_fourcc(*'mp4v'), _FPS,
        (frames.shape[2], frames.shape[1]))
    if not writer.isOpened():
        raise OSError(f'{path}: OpenCV can not open its MPEG-4 encoder (mp4v) '
                      'here; install an OpenCV built with FFmpeg, such as '
                      'opencv-python-headless from PyPI')
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    # OpenCV does not report a failed write.
    reader = cv2.VideoCapture(str(part))
    count = int(reader.get(cv2.CAP_PROP_FRAME_COUNT))
    reader.release()
    if count != len(frames):
        raise OSError(f'{path}: {max(count, 0)} of {len(frames)} frames were '
                      'stored; make room on the disk and start again')
    os.replace(part, path)


def _label(seed: int, split: str, index: int) -> int:
    """Label of a video: classes are shuffled within consecutive blocks."""
    block, place = divmod(index, len(CLASSES))
    # Beyond the splits' own seeds, which the videos have.
    stream = len(_SPLITS) + _SPLITS.index(split)
    return int(
        np.random.default_rng(
            (seed, stream, block)).permutation(len(CLASSES))[place])


def _name(split: str, index: int) -> str:
    return f'{split}/{index:06d}.mp4'


def _write_batch(videos: Sequence[Tuple[str, int]], folder: Path, part: Path,
                 seed: int, num_frames: int, size: int) -> int:
    """Write some videos, given as (split, index); return how many."""
    for split, index in videos:
        frames = render_video(
            _label(seed, split, index), (seed, _SPLITS.index(split), index),
            num_frames, size)
        write_video(folder / _name(split, index), frames,
                    part / f'{split}-{index}.mp4')
    return len(videos)


def _write_videos(videos: List[Tuple[str, int]], workers: int, folder: Path,
                  part: Path, settings: dict) -> None:
    write = partial(
        _write_batch,
        folder=folder,
        part=part,
        seed=settings['seed'],
        num_frames=settings['num_frames'],
        size=settings['size'])
    batches = [videos[i:i + _BATCH] for i in range(0, len(videos), _BATCH)]
    progress = ProgressBar(len(videos))
    # OpenCV's threads do not survive a fork.
    with ProcessPoolExecutor(
            workers, initializer=cv2.setNumThreads, initargs=(0, )) as pool:
        try:
            for count in pool.map(write, batches):
                progress.update(count)
        except BrokenExecutor as error:
            raise RuntimeError(
                f'{folder}: a worker was killed, perhaps for want of memory; '
                'start again to complete the videos') from error
    print()


def _write_text(path: Path, text: str, part: Path) -> None:
    (part / path.name).write_text(text)
    os.replace(part / path.name, path)


def _check_arguments(settings: dict, workers: int) -> None:
    _check_least(workers=workers, **settings)
    if settings['size'] % 2:
        raise ValueError('size must be even, as MPEG-4 wants it, got '
                         f'{settings["size"]}')
    if settings['seed'] >= 2**32:
        raise ValueError(
            f'seed must be less than 2**32, got {settings["seed"]}')


def _check_folder(root: Path, settings: dict) -> None:
    """Refuse a folder with anything but this data set, whole or in part."""
    claim = root / _CLAIM
    if claim.exists():
        found = json.loads(claim.read_text())
        differences = [
            f'{name}={found.get(name)} instead of {value}'
            for name, value in settings.items() if found.get(name) != value
        ]
        if differences:
            raise FileExistsError(
                f'{root} holds a data set with {", ".join(differences)}; '
                'delete it or choose another folder')
    elif root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise FileExistsError(f'{root} holds something else than generated '
                              'videos; choose an empty or a new folder')


def make_dataset(root: Union[str, Path],
                 num_train: int = 2000,
                 num_val: int = 400,
                 seed: int = 0,
                 num_frames: int = 24,
                 size: int = 112,
                 workers: int = 2) -> None:
    """Generate training and held-out videos for MMAction2's ``VideoDataset``.

    The folder then holds ``videos/{train,val}/*.mp4``, the annotation files
    ``train.txt`` and ``val.txt`` (path relative to ``videos``, label),
    ``classes.txt``, and the arguments in ``dataset.json``.

    A video is a pure function of the seed, the split and its number; the
    splits draw from different random streams. Any ``len(CLASSES)``
    consecutive videos from a multiple of that number on show each class once.

    The lists are written last. The next call with the same arguments
    completes what an interrupted one left, and keeps a complete data set.

    Args:
        root (str or Path): Folder of the data set: new, empty, or from an
            earlier call.
        num_train (int): Number of training videos. Defaults to 2000.
        num_val (int): Number of held-out videos. Defaults to 400.
        seed (int): From 0 to 2**32 - 1. Defaults to 0.
        num_frames (int): Frames of a video. Defaults to 24.
        size (int): Height and width in pixels. Defaults to 112.
        workers (int): Number of processes. Defaults to 2.

    Raises:
        ValueError: An argument is out of its range.
        FileExistsError: The folder holds something else, such as a data set
            made with other arguments.
        OSError: The folder can not be written, or a video not be encoded.
        RuntimeError: A worker was killed.
    """
    settings = dict(
        num_train=num_train,
        num_val=num_val,
        seed=seed,
        num_frames=num_frames,
        size=size)
    _check_arguments(settings, workers)
    settings['version'] = _VERSION
    root = Path(root)
    folder = root / 'videos'
    splits = {
        split: [(split, index) for index in range(count)]
        for split, count in zip(_SPLITS, (num_train, num_val))
    }
    texts = {
        f'{split}.txt':
        ''.join(f'{_name(*video)} {_label(seed, *video)}\n'
                for video in videos)
        for split, videos in splits.items()
    }
    texts['classes.txt'] = ''.join(f'{name}\n' for name in CLASSES)

    _check_folder(root, settings)
    missing = [
        video for videos in splits.values() for video in videos
        if not (folder / _name(*video)).exists()
    ]
    if not missing and all((root / name).exists() for name in texts):
        print(f'{root} is complete already')
        return
    try:
        root.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=root)
    except OSError as error:
        raise OSError(f'{root} can not be written ({error.strerror}); choose '
                      'another folder for the videos') from error
    with scratch as part:
        _write_text(root / _CLAIM, json.dumps(settings), Path(part))
        for split in splits:
            (folder / split).mkdir(parents=True, exist_ok=True)
        _write_videos(missing, workers, folder, Path(part), settings)
        for name, text in texts.items():
            _write_text(root / name, text, Path(part))
