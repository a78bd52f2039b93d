import os
import shutil
from contextlib import contextmanager
from typing import Iterator

from mmengine.dist import barrier, is_main_process

from ...utils import remove_folder


@contextmanager
def replacing_together(path: str) -> Iterator[str]:
    """Write a checkpoint of all processes completely or not at all.

    Yields:
        str: Path to write to. It is renamed to ``path``, a file or a folder,
        when all processes have written.
    """
    partial = f'{path}.partial'
    if is_main_process() and os.path.isdir(partial):
        shutil.rmtree(partial)  # From a run that was killed.
    barrier()
    yield partial
    barrier()
    if is_main_process():
        if os.path.isdir(path):
            remove_folder(path, partial)
        else:
            os.replace(partial, path)
    barrier()
