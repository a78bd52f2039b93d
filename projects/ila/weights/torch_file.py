"""PyTorch's own files: reading their data without running their code."""
import io
import pickle
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from types import SimpleNamespace
from typing import IO, Any, Dict, Optional, Union

import torch
from mmengine.utils import digit_version
from torch._weights_only_unpickler import _get_allowed_globals

from ..compat import runner_globals

_torch_load = torch.load


def check_crc(path: str) -> None:
    """Compare an archive with the checksums in it; other files pass.

    PyTorch writes checksums into its archives but does not check them.

    Raises:
        ValueError: A part of the archive has changed.
    """
    with open(path, 'rb') as file:
        if file.read(4) != b'PK\3\4':
            return
    with zipfile.ZipFile(path) as archive:
        parts = [part for part in archive.infolist() if part.file_size]
        # `torch.serialization.set_crc32_options(False)` omits checksums.
        if not any(part.CRC for part in parts):
            return
        if archive.testzip() is not None:
            raise ValueError('its content does not match its checksums')


def restricted_pickle(names: Dict[str, Any]) -> SimpleNamespace:
    """Make a module that unpickles tensors, for ``torch.load``.

    Args:
        names (dict[str, Any]): Objects that a file may refer to, in addition
            to those of tensors, by name.

    Returns:
        SimpleNamespace: ``Unpickler`` and ``load``, as in ``pickle``.
    """
    allowed = {**_get_allowed_globals(), **names}

    class Unpickler(pickle.Unpickler):

        def find_class(self, module: str, name: str) -> Any:
            # Python 2's names, which PyTorch writes.
            module, name = NAME_MAPPING.get((module, name), (module, name))
            module = IMPORT_MAPPING.get(module, module)
            if f'{module}.{name}' in allowed:
                return allowed[f'{module}.{name}']
            raise pickle.UnpicklingError(
                f'Unsupported global: {module}.{name}')

    return SimpleNamespace(
        __name__='restricted_pickle',
        Unpickler=Unpickler,
        load=lambda file, **kwargs: Unpickler(file, **kwargs).load())


def load_data(file: Union[str, IO],
              map_location: Any = 'cpu',
              names: Optional[Dict[str, Any]] = None) -> Any:
    """Load tensors, plain data and objects that MMEngine's ``Runner`` adds.

    Code is refused with any release of PyTorch and in any environment.

    Args:
        file (str | IO): A file that :func:`torch.save` wrote.
        map_location (Any): See :func:`torch.load`.
        names (dict[str, Any], optional): Other objects that the file may refer
            to, by name.

    Returns:
        Any: Content of the file.

    Raises:
        Exception: The file is damaged or refers to other objects; errors are
            of many types.
    """
    names = names or {}
    if digit_version(torch.__version__) < digit_version('2.6.0'):
        # Here `weights_only` cannot allow what a `Runner` adds.
        return _torch_load(
            file,
            map_location,
            pickle_module=restricted_pickle({
                **runner_globals(),
                **names
            }),
            weights_only=False)
    with torch.serialization.safe_globals([(value, name)
                                           for name, value in names.items()]):
        return _torch_load(file, map_location, weights_only=True)


def load_pickle(file: IO[bytes]) -> Any:
    """Load tensors, arrays and plain data that ``pickle.dump`` wrote.

    Args:
        file (IO[bytes]): The file.

    Returns:
        Any: Content of the file.

    Raises:
        Exception: The file is damaged or refers to other objects; errors are
            of many types.
    """
    # PyTorch would load the content of a tensor without restrictions.
    storage = {
        'torch.storage._load_from_bytes':
        lambda data: load_data(io.BytesIO(data))
    }
    return restricted_pickle({**runner_globals(), **storage}).load(file)
