"""Commands, run in this process as if it were a new one."""
import glob
import io
import os
import random
import re
import runpy
import shlex
import signal
import sys
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from itertools import chain
from pathlib import Path
from typing import Callable, Iterator, List, NamedTuple, Tuple, Union
from unittest import mock

import numpy as np
import torch
from mmengine.config import config
from mmengine.utils import ManagerMixin

ROOT = Path(__file__).parents[1]
# A training formats its config several times, for half a second each.
config.FormatCode = lambda text, **_: (text, True)


class Result(NamedTuple):
    """What ``subprocess.run`` would return."""
    returncode: int
    stdout: str
    stderr: str


def find_managers(base: type = ManagerMixin) -> List[type]:
    """Find MMEngine's classes that keep their instances by name.

    A runner's names have a time in seconds, so another may find its instances.
    """
    found = base.__subclasses__()
    return found + [*chain.from_iterable(map(find_managers, found))]


@contextmanager
def restoring_state() -> Iterator[None]:
    """Undo what a tool changes in its process."""
    instances = {
        manager: dict(manager._instance_dict)
        for manager in find_managers()
    }
    randomness = random.getstate(), np.random.get_state()
    generator, threads = torch.get_rng_state(), torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    cudnn = torch.backends.cudnn
    flags = cudnn.benchmark, cudnn.deterministic
    handlers = {
        number: signal.getsignal(number)
        for number in (signal.SIGTERM, signal.SIGUSR1)
    }
    directory = os.getcwd()
    with mock.patch.dict(os.environ), mock.patch('os.fsync', os.fsync), \
            mock.patch('sys.path', [*sys.path]):
        try:
            yield
        finally:
            os.chdir(directory)
            for number, handler in handlers.items():
                signal.signal(number, handler)
            cudnn.benchmark, cudnn.deterministic = flags
            torch.use_deterministic_algorithms(deterministic)
            torch.set_num_threads(threads)
            torch.set_rng_state(generator)
            random.setstate(randomness[0])
            np.random.set_state(randomness[1])
            for manager in find_managers():
                manager._instance_dict.clear()
                manager._instance_dict.update(instances.get(manager, {}))


def _run(words: List[str]) -> Tuple[Union[int, str, None], str, str]:
    """Run a command, and return what it exits with and what it prints."""
    is_module = words[0] == '-m'
    code = 0
    out, err = (io.TextIOWrapper(io.BytesIO(), 'utf-8') for _ in range(2))
    with restoring_state(), redirect_stdout(out), redirect_stderr(err), \
            mock.patch('sys.argv', words[is_module:]):
        try:
            if is_module:
                runpy.run_module(words[1], run_name='__main__')
            else:
                path = ROOT / words[0]
                sys.path.insert(0, str(path.parent))
                runpy.run_path(str(path), run_name='__main__')
        except SystemExit as error:
            code = error.code
    for stream in (out, err):
        stream.flush()
    return code, *(stream.buffer.getvalue().decode() for stream in (out, err))


def run_tool(*words: object) -> Result:
    """Run a tool of this project as ``python`` would in a new process.

    Args:
        *words: The tool's path in the project, or ``-m`` and a module, and
            arguments.
    """
    code, out, err = _run([*map(str, words)])
    if isinstance(code, str):
        code, err = 1, f'{err}{code}\n'
    return Result(int(code or 0), out, err)


def find_commands(text: str) -> List[str]:
    """Find the lines that begin with ``python``, joined where they go on."""
    return re.findall(r'^python (.*)', text.replace('\\\n', ''), re.M)


def run_command(command: str) -> Tuple[Union[int, str, None], str]:
    """Run a command as a shell would, but for quotes around patterns.

    Args:
        command (str): A tool of this project, or ``-m`` and a module, with
            arguments.

    Returns:
        tuple: Exit code, or the message with which it ends, and what was
        printed.
    """
    words = []
    for word in shlex.split(command):
        words += sorted(glob.glob(word)) or [word]
    code, out, _ = _run(words)
    return code, out


def once(function: Callable) -> Callable:
    """Call a function once and return the same again, as tracing is slow."""
    results = []

    def call(*args, **kwargs):
        if not results:
            results.append(function(*args, **kwargs))
        return results[0]

    return call
