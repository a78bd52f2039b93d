import errno
import os
import shutil
from contextlib import contextmanager
from typing import Iterator, Optional, Union

from mmengine.fileio import LocalBackend, register_backend


@contextmanager
def replacing(path: str) -> Iterator[str]:
    """Write a file atomically: completely, or not at all.

    Yields:
        str: Path to write to. It is renamed to ``path`` at the end, or
        removed if an error is raised.

    Raises:
        OSError: ``path`` is a device or a pipe, which would be replaced too.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        raise OSError(errno.EINVAL, 'it is not a regular file', path)
    partial = f'{path}.partial'
    try:
        yield partial
        # The content must reach the disk before the new name.
        with open(partial, 'rb') as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        if os.path.exists(partial):
            os.remove(partial)


def remove_folder(path: str, successor: Optional[str] = None) -> None:
    """Remove a folder; it is renamed first, so that no partial one is left.

    Args:
        path (str): The folder.
        successor (str, optional): File or folder that replaces it, before the
            content is removed.
    """
    removed = f'{path}.removed'
    if os.path.isdir(removed):
        shutil.rmtree(removed)
    os.replace(path, removed)
    if successor is not None:
        os.replace(successor, path)
    shutil.rmtree(removed)


@register_backend('atomic')
class AtomicLocalBackend(LocalBackend):
    """MMEngine's backend for local disks, which writes files atomically.

    If a process is killed while it writes, or the disk is full, the previous
    file is kept.
    """

    def put(self, obj: Union[bytes, memoryview], filepath: str) -> None:
        """Write bytes.

        Args:
            obj (bytes): The content.
            filepath (str): The file.

        Raises:
            OSError: The file could not be written.
        """
        os.makedirs(os.path.dirname(filepath) or os.curdir, exist_ok=True)
        try:
            with replacing(str(filepath)) as partial:
                with open(partial, 'wb') as file:
                    file.write(obj)
        except OSError as error:
            raise OSError(
                error.errno, f'{error.strerror}: the file could not be '
                'written, earlier ones are kept. Please fix this, for '
                'instance make room on the disk; a training goes on with '
                '--resume', str(filepath)) from error

    def rmtree(self, dir_path: str) -> None:
        """Remove a folder; see :func:`remove_folder`."""
        remove_folder(str(dir_path))

    def put_text(self,
                 obj: str,
                 filepath: str,
                 encoding: str = 'utf-8') -> None:
        """Write text; see :meth:`put`."""
        self.put(obj.encode(encoding), filepath)
