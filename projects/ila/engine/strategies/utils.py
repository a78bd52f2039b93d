import os
import shutil
from contextlib import contextmanager
from typing import Iterator

from mmengine.dist import barrier, is_main_process


@contextmanager
def replacing_together(path: str) -> Iterator[str]:
    """Let a checkpoint of all processes be there as a whole or not at all.

    Yields:
        str: Where the processes write. It becomes ``path``, a file or a
        folder, when all of them have.
    """
    partial = f'{path}.partial'
    yield partial
    barrier()
    if is_main_process():
        if os.path.isdir(path):
            shutil.rmtree(path)
        os.replace(partial, path)
    barrier()
