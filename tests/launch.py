"""Distributed runs and others in processes of their own.

They are forks of one process that has imported everything.
"""
import os
import runpy
import socket
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
_CONTEXT.set_forkserver_preload(['projects.ila'])
_TIMEOUT = 500


def free_port() -> str:
    """Find a port that nothing listens at."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        return str(free.getsockname()[1])


def _start(function: Callable, arguments: tuple, folder: Path, log: str,
           environment: dict) -> None:
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


def dist_train(folder: Path, config: str, processes: int, *arguments:
               str) -> Result:
    """Run ``tools/train.py`` in a folder, with CPU processes."""
    return run_forked(
        _run_tool,
        'tools/train.py',
        config,
        '--launcher',
        'pytorch',
        *arguments,
        folder=folder,
        processes=processes)
