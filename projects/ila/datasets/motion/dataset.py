"""Data sets of generated videos, see ``motions.py`` and ``rendering.py``."""
import json
import os
import signal
import tempfile
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import List, Optional, Sequence, Tuple, Union

import cv2
import numpy as np
from mmengine.utils import ProgressBar

from ..video_writer import write_video
from .motions import check_range, classes, default_frames
from .rendering import check_video, render_video

_FPS = 24

_SPLITS = ('train', 'val')
_CLAIM = 'dataset.json'
_SCRATCH = '.part-'
_BATCH = 20  # videos per task of a worker
# To be raised when the same arguments produce other videos.
_VERSION = 3


def _write_whole(path: Path, frames: np.ndarray, part: Path) -> None:
    """Write an MPEG-4 video; ``path`` exists only once it is complete."""
    try:
        write_video(
            part,
            frames,
            _FPS,
            'mpeg4',
            b=str(_FPS * frames[0, ..., 0].size),
            qmin='3')
    except OSError as error:
        raise OSError(
            f'{path}: the video cannot be stored ({error.strerror}); '
            'make room on the disk and start again') from error
    os.replace(part, path)


def _label(seed: int, split: str, index: int, level: Union[int, str]) -> int:
    """Label of a video: classes are shuffled within consecutive blocks."""
    count = len(classes(level))
    block, place = divmod(index, count)
    # Different from the seeds of the splits, which the videos use.
    stream = len(_SPLITS) + _SPLITS.index(split)
    rng = np.random.default_rng((seed, stream, block))
    return int(rng.permutation(count)[place])


def _name(split: str, index: int) -> str:
    return f'{split}/{index:06d}.mp4'


def _write_batch(videos: Sequence[Tuple[str, int]], folder: Path, part: Path,
                 seed: int, num_frames: int, size: int,
                 level: Union[int, str]) -> int:
    """Write some videos, given as (split, index); return how many."""
    for split, index in videos:
        frames = render_video(
            _label(seed, split, index, level),
            (seed, _SPLITS.index(split), index), num_frames, size, level)
        _write_whole(folder / _name(split, index), frames,
                     part / f'{split}-{index}.mp4')
    return len(videos)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The parent handles it.
    cv2.setNumThreads(0)  # OpenCV's threads do not survive a fork.


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
    with ProcessPoolExecutor(workers, initializer=_start_worker) as pool:
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
    # Each class must appear.
    for name in ('num_train', 'num_val'):
        check_range(name, settings[name], len(classes(settings['level'])))
    check_video(settings['num_frames'], settings['size'])
    if settings['size'] % 2:
        raise ValueError('size must be even, as MPEG-4 wants it, got '
                         f'{settings["size"]}')


def _check_folder(root: Path, settings: dict) -> None:
    """Refuse a folder with anything but this data set or a part of it."""
    claim = root / _CLAIM
    if claim.exists():
        try:
            found = dict(json.loads(claim.read_text()))
        except (TypeError, ValueError) as error:
            raise FileExistsError(
                f'{claim} is damaged ({error}); delete the folder or choose '
                'another one') from None
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
                 level: Union[int, str] = 0) -> None:
    """Generate training and held-out videos for MMAction2's ``VideoDataset``.

    The folder then holds ``videos/{train,val}/*.mp4``, the annotation files
    ``train.txt`` and ``val.txt`` (path relative to ``videos``, label),
    ``class_names.txt``, and the arguments in ``dataset.json``. A video is a
    pure function of the seed, the split and its number.

    The lists are written last. Another call with the same arguments completes
    an interrupted data set, and keeps a complete one.

    Args:
        root (str or Path): Folder of the data set: new, empty, or from an
            earlier call.
        num_train (int): Number of training videos.
        num_val (int): Number of held-out videos.
        seed (int): From 0 to 2**32 - 1.
        num_frames (int, optional): Frames of a video. Defaults to 24, at
            level 3 to 32.
        size (int): Height and width in pixels.
        workers (int): Number of processes.
        level (int | str): From 0 to 3, or ``'figures'``, see
            ``rendering.py``.

    Raises:
        ValueError: An argument is out of its range.
        FileExistsError: The folder holds something else, such as a data set
            made with other arguments.
        OSError: The folder cannot be written.
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
    texts['class_names.txt'] = ''.join(f'{name}\n' for name in classes(level))

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
        raise OSError(f'{root} cannot be written ({error.strerror}); choose '
                      'another folder for the videos') from error
    with scratch as part:
        _write_text(root / _CLAIM, json.dumps(settings), Path(part))
        for split in splits:
            (folder / split).mkdir(parents=True, exist_ok=True)
        _write_videos(missing, workers, folder, Path(part), settings)
        for name, text in texts.items():
            _write_text(root / name, text, Path(part))
