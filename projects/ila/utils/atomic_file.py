import errno
import os
from contextlib import contextmanager
from typing import Iterator, Sequence, Union

from mmengine.fileio import LocalBackend, register_backend


@contextmanager
def replacing(path: str) -> Iterator[str]:
    """Write a file that is either there as a whole or not changed at all.

    Yields:
        str: Where to write. It becomes ``path`` at the end, unless an error
        is raised: then it is removed.
    """
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


def check_output(path: str, suffixes: Sequence[str] = ()) -> None:
    """Find out before some work whether its result can be written.

    The file's folder is made; a file that is there is not changed.

    Args:
        path (str): The file that is going to be written.
        suffixes (Sequence[str]): Allowed endings. Defaults to any.

    Raises:
        ValueError: It cannot be written, or its ending is another one.
    """
    path = os.fspath(path)
    if suffixes and not path.endswith(tuple(suffixes)):
        raise ValueError(f"cannot write '{path}': its name must end with "
                         f"{' or '.join(suffixes)}; choose another name")
    try:
        if os.path.isdir(path):
            raise IsADirectoryError(errno.EISDIR, 'it is a folder')
        _try_to_write(path)
    except OSError as error:
        raise ValueError(f"cannot write '{path}': {error.strerror}; choose "
                         'another place or fix this') from error


def check_output_folder(folder: str) -> None:
    """Find out before some work whether files can be written to a folder.

    Args:
        folder (str): The folder; it is made.

    Raises:
        ValueError: They cannot.
    """
    try:
        _try_to_write(os.path.join(folder, 'output'))
    except OSError as error:
        raise ValueError(f"cannot write to folder '{folder}': "
                         f'{error.strerror}; choose another one or fix '
                         'this') from error


def _try_to_write(path: str) -> None:
    """Make a path's folder and, for a moment, a file beside the path."""
    attempt = f'{path}.{os.getpid()}.partial'
    os.makedirs(os.path.dirname(path) or os.curdir, exist_ok=True)
    with open(attempt, 'wb') as file:
        file.write(b' ')
    os.remove(attempt)


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
                'written, earlier ones are kept. Please mend this, for '
                'instance make room on the disk; a training goes on with '
                '--resume', str(filepath)) from error

    def put_text(self,
                 obj: str,
                 filepath: str,
                 encoding: str = 'utf-8') -> None:
        """Write text; see :meth:`put`."""
        self.put(obj.encode(encoding), filepath)
