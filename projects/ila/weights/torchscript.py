"""TorchScript archives, from which only tensors are read."""
import io
import pickle
import zipfile
from collections import OrderedDict
from typing import Any, Iterator, Optional, Tuple

import torch
from torch import Tensor

from .names import StateDict


class _Module:
    """Replaces every class of a TorchScript archive."""


class _ArchiveUnpickler(pickle.Unpickler):
    """Read the tensors of a TorchScript archive without running its code.

    Args:
        archive (ZipFile): The archive.
        root (str): Its only folder.
    """
    # Lists are pickled with functions that tag them with their type.
    containers = dict.fromkeys(
        ('build_intlist', 'build_doublelist', 'build_boollist',
         'build_tensorlist', 'restore_type_tag'), lambda value, *tag: value)
    dtypes = dict(
        FloatStorage=torch.float32,
        HalfStorage=torch.float16,
        BFloat16Storage=torch.bfloat16,
        DoubleStorage=torch.float64,
        LongStorage=torch.int64,
        IntStorage=torch.int32,
        ByteStorage=torch.uint8,
        BoolStorage=torch.bool)

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(io.BytesIO(archive.read(f'{root}/data.pkl')))
        self.archive = archive
        self.root = root

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith('__torch__'):
            return _Module
        if (module, name) == ('torch._utils', '_rebuild_tensor_v2'):
            return self.rebuild_tensor
        if (module, name) == ('collections', 'OrderedDict'):
            return OrderedDict
        if module == 'torch' and name in self.dtypes:
            return self.dtypes[name]
        if module == 'torch.jit._pickle' and name in self.containers:
            return self.containers[name]
        raise pickle.UnpicklingError(f'Unsupported global: {module}.{name}')

    def persistent_load(self, pid: Tuple) -> Tensor:
        _, dtype, key, *_ = pid
        data = bytearray(self.archive.read(f'{self.root}/data/{key}'))
        return torch.frombuffer(
            data, dtype=dtype) if data else torch.empty(
                0, dtype=dtype)

    @staticmethod
    def rebuild_tensor(storage: Tensor, offset: int, size: Tuple,
                       stride: Tuple, *_) -> Tensor:
        return storage.as_strided(size, stride, offset)


def find_torchscript(path: str) -> Optional[str]:
    """Get the folder in a TorchScript archive; None for other files."""
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            root, _, file = name.partition('/')
            if file == 'constants.pkl':
                return root
    return None


def read_torchscript(path: str, root: str) -> StateDict:
    """Read the tensors of a TorchScript archive.

    Args:
        path (str): The archive.
        root (str): Its only folder.

    Returns:
        dict[str, Tensor]: The tensors by the names of ``state_dict``.
    """

    def tensors(module: _Module, prefix: str = '') -> Iterator[tuple]:
        for name, value in vars(module).items():
            if isinstance(value, Tensor):
                yield prefix + name, value
            elif isinstance(value, _Module):
                yield from tensors(value, f'{prefix}{name}.')

    with zipfile.ZipFile(path) as archive:
        return dict(tensors(_ArchiveUnpickler(archive, root).load()))
