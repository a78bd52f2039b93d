"""The commands of a Markdown file, run in this process."""
import glob
import io
import re
import runpy
import shlex
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import List, Tuple, Union

import pytest

ROOT = Path(__file__).parents[1]


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
    is_module = words[0] == '-m'
    code, output = 0, io.TextIOWrapper(io.BytesIO(), 'utf-8')
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(output):
        patch.syspath_prepend(str((ROOT / words[0]).parent))
        patch.setattr(sys, 'argv', words[is_module:])
        try:
            if is_module:
                runpy.run_module(words[1], run_name='__main__')
            else:
                runpy.run_path(str(ROOT / words[0]), run_name='__main__')
        except SystemExit as error:
            code = error.code
    output.flush()
    return code, output.buffer.getvalue().decode()
