"""Distributed runs and others in processes of their own.

They are forks of one process that has imported everything.
"""
import gc
import os
import runpy
import socket
import subprocess
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Callable

import torch
from commands import ROOT, Result

# This process itself may have threads, which do not survive a fork.
_CONTEXT = get_context('forkserver')
# All that a training imports, which includes MMEngine's visualizer.
_CONTEXT.set_forkserver_preload(['projects.ila.cli', 'matplotlib.figure'])
_TIMEOUT = 500
_subprocess_run = subprocess.run


def free_port() -> str:
    """Find a port that nothing listens at."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        return str(free.getsockname()[1])


def _start(function: Callable, arguments: tuple, folder: Path, log: str,
           environment: dict) -> None:
    gc.freeze()  # Each dataset of MMEngine collects garbage.
    for number, suffix in ((1, 'out'), (2, 'err')):
        os.dup2(os.open(f'{log}.{suffix}', os.O_CREAT | os.O_WRONLY), number)
    os.environ.update(environment, OMP_NUM_THREADS='1', DS_ACCELERATOR='cpu')
    torch.set_num_threads(1)
    os.chdir(folder)
    function(*arguments)


def run_forked(function: Callable,
               *arguments: object,
               folder: Path,
               processes: int = 1) -> Result:
    """Call a function in processes that know of each other as torchrun's do.

    Returns:
        Result: The first exit code that is not 0, what the first process
        prints, and the errors of all.
    """
    port, deadline = free_port(), time.monotonic() + _TIMEOUT
    with tempfile.TemporaryDirectory() as logs:
        started = []
        for rank in range(processes):
            environment = dict(
                RANK=str(rank),
                LOCAL_RANK=str(rank),
                WORLD_SIZE=str(processes),
                MASTER_ADDR='127.0.0.1',
                MASTER_PORT=port)
            started.append(
                _CONTEXT.Process(
                    target=_start,
                    args=(function, arguments, folder, f'{logs}/{rank}',
                          environment)))
            started[-1].start()
        for process in started:
            process.join(max(0, deadline - time.monotonic()))
            process.kill()
            process.join()
        codes = [process.exitcode for process in started if process.exitcode]
        out = Path(logs, '0.out').read_text()
        err = ''.join(
            Path(logs, f'{rank}.err').read_text() for rank in range(processes))
    return Result(codes[0] if codes else 0, out, err)


def _run_tool(tool: str, *arguments: str) -> None:
    sys.argv = [tool, *arguments]
    sys.path.insert(0, str((ROOT / tool).parent))
    runpy.run_path(str(ROOT / tool), run_name='__main__')


def run_python(command: list,
               check: bool = False,
               stdout: object = None,
               **kwargs: object) -> subprocess.CompletedProcess:
    """Stand in for ``subprocess.run`` where a tool runs other tools."""
    if command[0] != sys.executable:
        return _subprocess_run(command, check=check, stdout=stdout, **kwargs)
    result = run_forked(_run_tool, *map(str, command[1:]), folder=Path.cwd())
    if hasattr(stdout, 'write'):
        stdout.write(result.stdout + result.stderr)
    assert not check or result.returncode == 0, result.stderr[-3000:]
    return subprocess.CompletedProcess(command, result.returncode)


def _dist_run(folder: Path, processes: int, *command: object) -> Result:
    return run_forked(
        _run_tool, *map(str, command), folder=folder, processes=processes)


def dist_train(folder: Path, config: str, processes: int, *arguments:
               str) -> Result:
    """Run ``tools/train.py`` in a folder, with CPU processes."""
    return _dist_run(folder, processes, 'tools/train.py', config, '--launcher',
                     'pytorch', *arguments)


def dist_test(folder: Path, config: str, checkpoint: Path, processes: int,
              *arguments: str) -> Result:
    """Run ``tools/test.py`` in a folder, with CPU processes."""
    return _dist_run(folder, processes, 'tools/test.py', config, checkpoint,
                     '--launcher', 'pytorch', *arguments)
