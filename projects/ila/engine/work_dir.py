"""The folder of a run: its lock, and the checkpoint to resume from."""
import errno
import os
import os.path as osp
import re
import socket
import warnings
from typing import IO, Dict, List, Optional, Tuple

from ..weights import read_checkpoint
from .sharded_checkpoint import check_sharded, is_sharded

try:
    import fcntl
except ImportError:  # Not on Windows.
    fcntl = None

LOCK = 'run.lock'
# The locked files, by process, since a forked process holds none of the locks.
_locks: Dict[Tuple[int, str], IO] = dict()


def lock_work_dir(work_dir: str) -> None:
    """Keep other trainings out of a folder until this process ends.

    The operating system releases the lock, however the process ends. Data
    loader workers that outlive the process do not hold the lock.

    Raises:
        BlockingIOError: Another process trains in the folder.
    """
    key = os.getpid(), osp.realpath(work_dir)
    if key in _locks:
        return
    file = open(osp.join(work_dir, LOCK), 'a+')
    _take_lock(file, work_dir, exclusive=True)
    file.truncate(0)
    file.write(f'process {os.getpid()} on {socket.gethostname()}\n')
    file.flush()
    _locks[key] = file


def unlock_work_dir(work_dir: str) -> None:
    """Let other trainings use a folder again."""
    file = _locks.pop((os.getpid(), osp.realpath(work_dir)), None)
    if file is not None:
        file.close()


def check_unlocked(work_dir: str) -> None:
    """Raise a BlockingIOError if another training uses a folder."""
    path = osp.join(work_dir, LOCK)
    if osp.isfile(path) and (os.getpid(),
                             osp.realpath(work_dir)) not in _locks:
        with open(path, 'r') as file:
            _take_lock(file, work_dir, exclusive=False)


def _take_lock(file: IO, work_dir: str, exclusive: bool) -> None:
    if fcntl is None:
        return
    kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
    try:
        # Unlike those of `flock`, these are not inherited by data loaders'
        # workers, which outlive a killed run for some seconds.
        fcntl.lockf(file, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            warnings.warn(
                f"'{work_dir}' cannot be locked ({error.strerror}), as on some "
                'network disks; make sure that only one run uses it at a time')
            return
        file.seek(0)
        owner = file.read().strip() or 'another process'
        file.close()
        raise BlockingIOError(
            errno.EAGAIN,
            f"another training runs in '{work_dir}' ({owner}). Two of them "
            'would overwrite and remove the checkpoints of each other; wait '
            'for its end, or choose another folder with --work-dir') from None


def is_whole(path: str) -> bool:
    """Whether a checkpoint, a file or folder, can be read."""
    if osp.isdir(path) and not is_sharded(path):
        return bool(os.listdir(path))
    try:
        check_sharded(path) if osp.isdir(path) else read_checkpoint(path)
    except (FileNotFoundError, ValueError) as error:
        warnings.warn(f'not resumed from: {error}')
        return False
    return True


def _list_checkpoints(work_dir: str) -> List[str]:
    """List checkpoints that can be resumed from, the newest first.

    Names decide on the order, since copies have other modification times.
    """
    found = [
        re.fullmatch(r'(epoch|iter)_(\d+)\.pth', name)
        for name in os.listdir(work_dir)
    ]
    found = sorted(
        filter(None, found), key=lambda match: int(match[2]), reverse=True)
    return [osp.join(work_dir, match[0]) for match in found]


def find_latest_checkpoint(work_dir: str) -> Optional[str]:
    """Find the checkpoint that a training in a folder is resumed from.

    The file ``last_checkpoint`` names it; it is looked up in this folder, even
    if the folder was moved or copied. Otherwise it is the newest checkpoint in
    the folder that can be read. None if there are no checkpoints.

    Raises:
        ValueError: None of the checkpoints can be read.
    """
    if not osp.isdir(work_dir):
        return None
    candidates, elsewhere = [], []
    pointer = osp.join(work_dir, 'last_checkpoint')
    if osp.isfile(pointer):
        with open(pointer, errors='replace') as file:
            path = file.read().strip()
        if '://' in path:  # In a remote storage.
            return path
        if osp.isabs(path):  # As MMEngine writes it.
            elsewhere.append(path)
            path = osp.basename(path)
        if path:
            candidates.append(osp.join(work_dir, path))
    candidates += _list_checkpoints(work_dir) + elsewhere
    candidates = [
        path for path in dict.fromkeys(candidates) if osp.exists(path)
    ]
    for path in candidates:
        if is_whole(path):
            return path
    if candidates or osp.isfile(pointer):
        raise ValueError(
            f"'{work_dir}' holds no whole checkpoint to resume from; put one "
            "there, or train from the start without --resume")
    return None
