import errno
import os
import shutil
from contextlib import contextmanager
from typing import Iterator, Optional, Union

from mmengine.fileio import LocalBackend, register_backend


@contextmanager
def replacing(path: str) -> Iterator[str]:
    """Write a file that is either there as a whole or not changed at all.

    Yields:
        str: Where to write. It becomes ``path`` at the end, unless an error
        is raised: then it is removed.

    Raises:
        OSError: ``path`` is a device or a pipe, which would be replaced too.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        raise OSError(errno.EINVAL, 'it is not a regular file', path)
    partial = f'{path}.partial'
    try:
        yield partial
        # Its name must not reach the disk before its content.
        with open(partial, 'rb') as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        if os.path.exists(partial):
            os.remove(partial)


def remove_folder(path: str, successor: Optional[str] = None) -> None:
    """Remove a folder; one that is removed in part has another name.

    Args:
        path (str): The folder.
        successor (str, optional): File or folder that takes its place, before
            the content is removed.
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
    """MMEngine's storage on local disks, with files written as a whole.

    A process that is killed while it writes, or a full disk, leaves the file
    that was there before.
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
