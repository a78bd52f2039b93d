"""Train, kill and resume, again and again; run by tests/tools/test_resume.py.

Everything is imported once, also what a training imports when it starts. Each
attempt is a fork, so that most of its time is training.
"""
import gc
import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / 'tools'))

import matplotlib.figure  # noqa: E402, F401
import train  # noqa: E402
from mmengine.config import config as mmengine_config  # noqa: E402

import projects.ila.cli  # noqa: E402, F401
from projects.ila.utils import atomic_file  # noqa: E402

KILLS_PER_RUN = 7
# A training formats its config several times, for half a second each.
mmengine_config.FormatCode = lambda text, **_: (text, True)


def die_while_writing(number: int, half: bool) -> None:
    """Let the n-th file be the last one, half written or before its name."""
    count = 0

    def fsync(descriptor: int) -> None:
        nonlocal count
        count += 1
        if count == number:
            if half:
                os.truncate(f'/proc/self/fd/{descriptor}',
                            os.fstat(descriptor).st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    class DyingOS:
        """The module ``os`` with another ``fsync``."""

        def __getattr__(self, name):
            return fsync if name == 'fsync' else getattr(os, name)

    atomic_file.os = DyingOS()


def start(config: str, work_dir: str, sabotage: tuple = ()) -> int:
    """Start or resume a training.

    Returns:
        int: The process.
    """
    process = os.fork()
    if process:
        return process
    log = os.open(f'{work_dir}.log', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1), os.dup2(log, 2)
    sys.argv = ['train.py', config, '--work-dir', work_dir, '--resume']
    status = 1
    try:
        if sabotage:
            die_while_writing(*sabotage)
        train.main()
        status = 0
    except BaseException:
        traceback.print_exc()
    os._exit(status)


def finish(process: int) -> bool:
    """Wait for a process.

    Returns:
        bool: Whether it was killed.

    Raises:
        SystemExit: It failed.
    """
    _, status = os.waitpid(process, 0)
    if os.WIFSIGNALED(status):
        return True
    if os.WEXITSTATUS(status):
        sys.exit('a training failed')
    return False


def count_steps(work_dir: str) -> int:
    """Count the iterations that were logged, also those that were lost."""
    return Path(f'{work_dir}.log').read_text().count(' - Epoch(')


def kill_after(process: int, work_dir: str, steps: int, delay: float) -> bool:
    """Kill a training once it has logged so many iterations.

    Returns:
        bool: Whether it had not ended before.
    """
    while count_steps(work_dir) < steps and not os.waitid(
            os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        time.sleep(0.002)
    time.sleep(delay)
    os.kill(process, signal.SIGKILL)
    return finish(process)


def main(config: str, folder: str, runs: int) -> None:
    gc.freeze()  # Each dataset of MMEngine collects garbage.
    finish(start(config, f'{folder}/uninterrupted'))
    rng = random.Random(0)
    kills = []
    for run in range(runs):
        work_dir = f'{folder}/run{run}'
        # Files 1 to 4 are the first two checkpoints, each with its pointer.
        for sabotage in ((2 * run + 1, True), (2, False)):
            if not finish(start(config, work_dir, sabotage)):
                sys.exit('it should have been killed while writing')
            kills.append('writing')
        for _ in range(KILLS_PER_RUN):
            steps = count_steps(work_dir)
            process = start(config, work_dir)
            if kill_after(process, work_dir, steps + rng.randint(1, 8),
                          rng.uniform(0, 0.03)):
                kills.append(count_steps(work_dir) - steps)
        finish(start(config, work_dir))
    print(json.dumps(kills))


if __name__ == '__main__':
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
