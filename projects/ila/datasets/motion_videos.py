"""Data sets of generated videos whose classes differ in motion alone.

See ``motion_rendering.py`` for what the videos show, and why neither a single
frame nor shuffled frames tell the class.
"""
import json
import os
import tempfile
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import List, Optional, Sequence, Tuple, Union

import cv2
import numpy as np
from mmengine.utils import ProgressBar

from .motion_rendering import (CLASSES, check_range, check_video, classes,
                               default_frames, displacement, render_video)

__all__ = [
    'CLASSES', 'classes', 'displacement', 'make_dataset', 'render_video',
    'write_video'
]

_FPS = 24

_SPLITS = ('train', 'val')
_CLAIM = 'dataset.json'
_SCRATCH = '.part-'
_BATCH = 20  # videos per task of a worker
# To be raised when other videos come out of the same arguments.
_VERSION = 2


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


def _label(seed: int, split: str, index: int, level: int) -> int:
    """Label of a video: classes are shuffled within consecutive blocks."""
    count = len(classes(level))
    block, place = divmod(index, count)
    # Beyond the splits' own seeds, which the videos have.
    stream = len(_SPLITS) + _SPLITS.index(split)
    rng = np.random.default_rng((seed, stream, block))
    return int(rng.permutation(count)[place])


def _name(split: str, index: int) -> str:
    return f'{split}/{index:06d}.mp4'


def _write_batch(videos: Sequence[Tuple[str, int]], folder: Path, part: Path,
                 seed: int, num_frames: int, size: int, level: int) -> int:
    """Write some videos, given as (split, index); return how many."""
    for split, index in videos:
        frames = render_video(
            _label(seed, split, index, level),
            (seed, _SPLITS.index(split), index), num_frames, size, level)
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
        size=settings['size'],
        level=settings['level'])
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
    check_range('workers', workers, 1)
    check_range('seed', settings['seed'], 0, 2**32 - 1)
    # Each class is to be seen.
    for name in ('num_train', 'num_val'):
        check_range(name, settings[name], len(classes(settings['level'])))
    check_video(settings['num_frames'], settings['size'])
    if settings['size'] % 2:
        raise ValueError('size must be even, as MPEG-4 wants it, got '
                         f'{settings["size"]}')


def _check_folder(root: Path, settings: dict) -> None:
    """Refuse a folder with anything but this data set, whole or in part."""
    claim = root / _CLAIM
    if claim.exists():
        # Before there were levels all videos were of the first.
        found = {'level': 0, **json.loads(claim.read_text())}
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
                 num_frames: Optional[int] = None,
                 size: int = 112,
                 workers: int = 2,
                 level: int = 0) -> None:
    """Generate training and held-out videos for MMAction2's ``VideoDataset``.

    The folder then holds ``videos/{train,val}/*.mp4``, the annotation files
    ``train.txt`` and ``val.txt`` (path relative to ``videos``, label),
    ``classes.txt``, and the arguments in ``dataset.json``.

    A video is a pure function of the seed, the split and its number; the
    splits draw from different random streams. Any ``len(classes(level))``
    consecutive videos from a multiple of that number on show each class once.

    The lists are written last. The next call with the same arguments
    completes what an interrupted one left, and keeps a complete data set.

    Args:
        root (str or Path): Folder of the data set: new, empty, or from an
            earlier call.
        num_train (int): Number of training videos. Defaults to 2000.
        num_val (int): Number of held-out videos. Defaults to 400.
        seed (int): From 0 to 2**32 - 1. Defaults to 0.
        num_frames (int, optional): Frames of a video. Defaults to 24, at
            level 3 to 32.
        size (int): Height and width in pixels. Defaults to 112.
        workers (int): Number of processes. Defaults to 2.
        level (int): From 0 to 3, see ``motion_rendering.py``. Defaults to 0.

    Raises:
        ValueError: An argument is out of its range.
        FileExistsError: The folder holds something else, such as a data set
            made with other arguments.
        OSError: The folder can not be written, or a video not be encoded.
        RuntimeError: A worker was killed.
    """
    if num_frames is None:
        num_frames = default_frames(level)
    settings = dict(
        num_train=num_train,
        num_val=num_val,
        seed=seed,
        num_frames=num_frames,
        size=size,
        level=level)
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
        ''.join(f'{_name(*video)} {_label(seed, *video, level)}\n'
                for video in videos)
        for split, videos in splits.items()
    }
    texts['classes.txt'] = ''.join(f'{name}\n' for name in classes(level))

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
