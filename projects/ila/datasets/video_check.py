"""Check video files in processes that may crash or hang."""
import hashlib
import os
import signal
import sys
from collections import Counter, deque
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from time import monotonic
from typing import Dict, Iterable, NamedTuple, Optional, Sequence

from mmengine.utils import ProgressBar

from mmaction.registry import TRANSFORMS
from .frame_folders import check_frames
from .transforms.loading import find_reading, iter_frames
from .video_file import ShortVideoError, TruncatedVideoError, check_regular

PIPELINE = (dict(type='SafePyAVInit'), dict(type='SafePyAVDecode'))

# Forked processes start at once, with all modules loaded.
_CONTEXT = get_context('fork')


class Result(NamedTuple):
    """What is wrong with a file; ``kind`` is empty for a good file."""
    kind: str = ''
    reason: str = ''
    content: str = ''  # SHA-256, if another file has the same size


def check_video(path: str,
                min_frames: int = 2,
                hashed: bool = False,
                pipeline: Sequence[dict] = PIPELINE) -> Result:
    """Read and decode a file from its first frame to the last.

    Args:
        path (str): The file.
        min_frames (int): Least number of frames.
        hashed (bool): Whether to return the hash of the content.
        pipeline (Sequence[dict]): Configs of transforms, of which one opens
            and one decodes the video.

    Returns:
        Result: Its kind is ``'missing'``, ``'truncated'``, ``'too short'``,
        ``'unreadable'`` or empty.
    """
    opening, decoding = (
        TRANSFORMS.build(pipeline[place]) for place in find_reading(pipeline))
    try:
        video = opening(dict(filename=path, start_index=0, modality='RGB'))
        frames = video['total_frames']
        if frames < min_frames:
            raise ShortVideoError(f'{frames} frames, fewer than {min_frames}')
        if hasattr(video['video_reader'], 'check'):
            video['video_reader'].check()
        else:
            deque(iter_frames(opening, decoding, video, range(frames)), 0)
        digest = ''
        if hashed:
            digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except FileNotFoundError as error:
        return Result('missing', str(error))
    except TruncatedVideoError as error:
        return Result('truncated', str(error))
    except ShortVideoError as error:
        return Result('too short', str(error))
    except Exception as error:  # Its type depends on the reader.
        reason = ' '.join(str(error).split())
        if not isinstance(error, ValueError):
            reason = f'{type(error).__name__}: {reason}'
        return Result('unreadable', reason)
    return Result(content=digest)


def check_frame_folder(path: str,
                       min_frames: int = 2,
                       template: Optional[str] = None) -> Result:
    """Read all frames of a folder; the kind is ``'unreadable'`` or empty."""
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
        # Only the parent keeps the other end, so that it closes with it.
        self.pipe.close()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for stream in (1, 2):  # Decoders print errors.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        try:
            while True:
                has_frames, *arguments = pipe.recv()
                check = check_frame_folder if has_frames else check_video
                pipe.send(check(*arguments))
        except EOFError:
            pass

    def receive(self) -> Result:
        """Get the result of the last file, or that it crashed the process."""
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


def check_videos(paths: Iterable[str],
                 min_frames: int = 2,
                 workers: int = 1,
                 timeout: float = 120,
                 frames: Optional[Dict[str, Optional[str]]] = None,
                 pipeline: Sequence[dict] = PIPELINE) -> Dict[str, Result]:
    """Check files in several processes, with a progress bar on stderr.

    Args:
        paths (Iterable[str]): The files.
        min_frames (int): See :func:`check_video`.
        workers (int): Number of processes.
        timeout (float): Largest number of seconds per file.
        frames (dict[str, str | None], optional): The paths that are folders
            of frames, with their template, see :func:`find_frames`.
        pipeline (Sequence[dict]): See :func:`check_video`.

    Returns:
        dict[str, Result]: Results by path. In addition to the kinds of
        :func:`check_video` there are ``'crashing'`` and ``'hanging'``, and
        ``'not checked'`` if Ctrl+C ended the check.
    """
    frames = frames or {}
    opening = pipeline[find_reading(pipeline)[0]]
    on_disk = opening.get('io_backend', 'disk') == 'disk'
    results, sizes = {}, {}
    for path in dict.fromkeys(paths):
        if path in frames and os.path.isdir(path):
            sizes[path] = 0  # Frames are hashed anyway.
            continue
        if not on_disk:
            sizes[path] = path  # Files in other storages are not hashed.
            continue
        try:
            check_regular(path)
            sizes[path] = os.path.getsize(path)
        except ValueError as error:
            results[path] = Result('unreadable', str(error))
        except OSError as error:
            results[path] = Result('missing', str(error))
    shared = Counter(sizes.values())
    waiting, busy = deque(sizes), {}
    idle = [_Worker() for _ in range(min(workers, len(waiting)))]
    progress = ProgressBar(len(waiting), file=sys.stderr)
    try:
        while waiting or busy:
            while waiting and idle:
                worker, path = idle.pop(), waiting.popleft()
                last = [shared[sizes[path]] > 1, pipeline]
                if path in frames:
                    last = [frames[path]]
                worker.pipe.send((path in frames, path, min_frames, *last))
                busy[worker.pipe] = worker, path, monotonic() + timeout
            first = min(deadline for *_, deadline in busy.values())
            # Systems limit how long one can wait.
            ready = wait(busy, min(max(0, first - monotonic()), 3600))
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
