"""Check of video files in processes that may crash or hang."""
import hashlib
import os
import re
import signal
import sys
from collections import Counter, deque
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from time import monotonic
from typing import Dict, Iterable, NamedTuple, Optional

import decord  # noqa: F401, so that no process has to load it
import numpy as np
from mmengine.fileio import FileClient
from mmengine.utils import ProgressBar

from .frame_folders import check_frames
from .transforms import SafeDecordDecode, SafeDecordInit
from .transforms.loading import read_whole_file

# Such processes start at once, with all modules loaded.
_CONTEXT = get_context('fork')


class Result(NamedTuple):
    """What is wrong with a file; of a good one, ``kind`` is empty."""
    kind: str = ''
    reason: str = ''
    content: str = ''  # SHA-256, where another file has the same size


def check_video(path: str,
                min_frames: int = 2,
                hashed: bool = False) -> Result:
    """Read and decode a file from its first frame to the last.

    Args:
        path (str): The file.
        min_frames (int): Number of frames that it needs. Defaults to 2, the
            fewest that a training takes.
        hashed (bool): Whether to tell the hash of its content. Defaults to
            False.

    Returns:
        Result: Of kind ``'truncated'``, ``'too short'``, ``'unreadable'`` or
        none.
    """
    problem = 'truncated'  # What a ValueError means.
    try:
        content = read_whole_file(FileClient('disk'), path)
        problem = 'too short'
        results = SafeDecordInit().transform(dict(filename=path))
        frames = results['total_frames']
        if frames < min_frames:
            raise ValueError(f'{frames} frames, fewer than {min_frames}')
        problem = 'unreadable'
        # It gives the last frame alone, but decodes all of them.
        results['frame_inds'] = np.array([frames - 1])
        SafeDecordDecode().transform(results)
    except ValueError as error:
        return Result(problem, str(error))
    except Exception as error:
        # Decord tells where in its source it stopped.
        reason = re.sub(r'\[[\d:]+\] \S+:\d+: ', '', str(error))
        return Result('unreadable', ' '.join(reason.split()))
    digest = hashlib.sha256(content).hexdigest() if hashed else ''
    return Result(content=digest)


def check_frame_folder(path: str,
                       min_frames: int = 2,
                       template: Optional[str] = None) -> Result:
    """Read all frames of a folder.

    Args:
        path (str): The folder.
        min_frames (int): See :func:`check_video`.
        template (str, optional): See :func:`find_frames`.

    Returns:
        Result: Of kind ``'unreadable'`` or none.
    """
    try:
        return Result(content=check_frames(path, template, min_frames))
    except (OSError, ValueError) as error:
        return Result('unreadable', str(error))


class _Worker:
    """A process that checks files, until one crashes it or takes too long."""

    def __init__(self) -> None:
        self.pipe, other = _CONTEXT.Pipe()
        self.process = _CONTEXT.Process(
            target=self._work, args=(other, ), daemon=True)
        self.process.start()
        other.close()

    def _work(self, pipe: Connection) -> None:
        # The other end is the parent's alone: without the parent it is gone.
        self.pipe.close()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for stream in (1, 2):  # Decoders print what they stumble over.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        try:
            while True:
                has_frames, *arguments = pipe.recv()
                check = check_frame_folder if has_frames else check_video
                pipe.send(check(*arguments))
        except EOFError:
            pass

    def receive(self) -> Result:
        """Get the result of the last file, or that there is none."""
        try:
            return self.pipe.recv()
        except EOFError:
            self.process.join()
            return Result(
                'crashing', 'it ended the decoding process with '
                f'exit code {self.process.exitcode}')

    def stop(self) -> None:
        """End the process, whatever it does."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


def check_videos(
        paths: Iterable[str],
        min_frames: int = 2,
        workers: int = 1,
        timeout: float = 120,
        frames: Optional[Dict[str,
                              Optional[str]]] = None) -> Dict[str, Result]:
    """Check files in several processes, with a progress bar on stderr.

    Args:
        paths (Iterable[str]): The files.
        min_frames (int): See :func:`check_video`.
        workers (int): Number of processes. Defaults to 1.
        timeout (float): Seconds that a file may take. Defaults to 120.
        frames (dict[str, str | None], optional): The paths that are folders
            of frames, and their template, see :func:`find_frames`.

    Returns:
        dict[str, Result]: By path. Beside the kinds of :func:`check_video`
        there are ``'missing'``, ``'crashing'`` and ``'hanging'``, and
        ``'not checked'`` if Ctrl+C ended the check.
    """
    frames = frames or {}
    missing = Result('missing', 'there is no such file')
    results = {path: missing for path in paths}
    sizes = {
        path: os.path.getsize(path)
        for path in results if os.path.isfile(path)
    }
    for path in frames:
        if os.path.isdir(path):
            sizes[path] = 0  # Frames are hashed anyway.
    shared = Counter(sizes.values())
    waiting, busy = deque(sizes), {}
    idle = [_Worker() for _ in range(min(workers, len(waiting)))]
    progress = ProgressBar(len(waiting), file=sys.stderr)
    try:
        while waiting or busy:
            while waiting and idle:
                worker, path = idle.pop(), waiting.popleft()
                last = shared[sizes[path]] > 1
                if path in frames:
                    last = frames[path]
                worker.pipe.send((path in frames, path, min_frames, last))
                busy[worker.pipe] = worker, path, monotonic() + timeout
            first = min(deadline for *_, deadline in busy.values())
            ready = wait(busy, max(0, first - monotonic()))
            for pipe, (worker, path, deadline) in list(busy.items()):
                if pipe in ready:
                    results[path] = worker.receive()
                elif monotonic() >= deadline:
                    results[path] = Result('hanging',
                                           f'not decoded in {timeout:g} s')
                else:
                    continue
                del busy[pipe]
                if results[path].kind in ('crashing', 'hanging'):
                    worker.stop()
                    worker = _Worker()
                idle.append(worker)
                progress.update()
    except KeyboardInterrupt:
        idle += [worker for worker, *_ in busy.values()]
        stopped = Result('not checked', 'the check was stopped before')
        for path in [*waiting, *(path for _, path, _ in busy.values())]:
            results[path] = stopped
    for worker in idle:
        worker.stop()
    print(file=sys.stderr)
    return results
