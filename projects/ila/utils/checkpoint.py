"""Files of weights: reading without running code from them, and writing."""
import hashlib
import json
import os
import pickle
import re
import zipfile
from collections import OrderedDict
from contextlib import contextmanager
from typing import Any, Iterator, Optional, Tuple

import safetensors
import torch
from mmengine.runner import CheckpointLoader
from mmengine.runner.checkpoint import load_from_local
from safetensors.torch import save_file
from torch import Tensor

from .atomic_file import replacing
from .weight_names import StateDict


class _Module:
    """Stands in for every class of a TorchScript archive."""


class _ArchiveUnpickler(pickle.Unpickler):
    """Read the tensors of a TorchScript archive, and none of its code.

    Args:
        archive (ZipFile): The archive.
        root (str): Its only folder.
    """
    # Lists of numbers come with a function that tags them with their type.
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
        super().__init__(archive.open(f'{root}/data.pkl'))
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


def _find_torchscript(path: str) -> Optional[str]:
    """Get the folder in a TorchScript archive; None for other files."""
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            root, _, file = name.partition('/')
            if file == 'constants.pkl':
                return root
    return None


def _read_torchscript(path: str, root: str) -> StateDict:

    def tensors(module: _Module, prefix: str = '') -> Iterator[tuple]:
        for name, value in vars(module).items():
            if isinstance(value, Tensor):
                yield prefix + name, value
            elif isinstance(value, _Module):
                yield from tensors(value, f'{prefix}{name}.')

    with zipfile.ZipFile(path) as archive:
        return dict(tensors(_ArchiveUnpickler(archive, root).load()))


def _read_safetensors(path: str) -> dict:
    with safetensors.safe_open(path, 'pt') as file:
        meta = json.loads((file.metadata() or {}).get('ila', '{}'))
        weights = {name: file.get_tensor(name) for name in file.keys()}
    return dict(state_dict=weights, meta=dict(ila=meta) if meta else {})


def _read_archive(path: str) -> Optional[dict]:
    """Read TorchScript and safetensors; None for other files."""
    if path.endswith('.safetensors'):
        return _read_safetensors(path)
    root = _find_torchscript(path)
    if root is None:
        return None
    return dict(state_dict=_read_torchscript(path, root))


@contextmanager
def _naming(path: str) -> Iterator[None]:
    """Turn what goes wrong while a file is read into one clear error."""
    if not os.path.isfile(path):
        raise FileNotFoundError(f"weight file '{path}' does not exist; mend "
                                'its path or put it there')
    try:
        yield
    except Exception as error:  # Its type depends on what is broken.
        unsupported = re.search(r'(?i)unsupported global\S*( global)? \S+',
                                str(error))
        if isinstance(error, pickle.UnpicklingError) and unsupported:
            raise ValueError(
                f"weight file '{path}' holds more than data, and loading it "
                f'could run code ({unsupported[0]}); take a file that holds '
                'tensors only') from None
        # Of PyTorch's advice, which is to run the code, only the reason.
        reason = re.search(r'WeightsUnpickler error:\s*(.+)', str(error))
        reason = reason[1] if reason else str(error).split('\n')[0]
        raise ValueError(
            f"weight file '{path}' can not be read: it is truncated, damaged "
            'or something else; download or save it again '
            f'({reason})') from None


def read_checkpoint(path: str) -> dict:
    """Read a file of weights without running code from it.

    Args:
        path (str): A checkpoint or state dict saved by PyTorch, a TorchScript
            archive, of which only the tensors are taken, or a
            ``.safetensors`` file.

    Returns:
        dict: What the file holds; of archives and safetensors the weights as
        entry ``state_dict``.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is damaged or holds more than data.
    """
    with _naming(path):
        return _read_archive(path) or torch.load(
            path, map_location='cpu', weights_only=True)


def find_weights(checkpoint: dict, path: str) -> StateDict:
    """Find the weights in what a file holds.

    Args:
        checkpoint (dict): What :func:`read_checkpoint` returns.
        path (str): The file, for the error message.

    Returns:
        dict[str, Tensor]: The weights, without the prefix ``module.`` of
        distributed training.

    Raises:
        ValueError: There are none.
    """
    weights = checkpoint
    for entry in ('state_dict', 'model'):
        if isinstance(weights, dict) and isinstance(weights.get(entry), dict):
            weights = weights[entry]
    if not isinstance(weights, dict) or not weights or not all(
            isinstance(value, Tensor) for value in weights.values()):
        raise ValueError(f"weight file '{path}' holds no weights; take a "
                         'checkpoint or a state dict')
    return {
        re.sub(r'^module\.', '', name): value
        for name, value in weights.items()
    }


@CheckpointLoader.register_scheme(prefixes='', force=True)
def load_from_file(filename: str, map_location: Any = None) -> dict:
    """Read a local file for MMEngine's ``load_from`` and ``Pretrained``.

    Beside MMEngine's own checkpoints these are TorchScript archives,
    safetensors and checkpoints of the released ILA. Errors in loading the
    weights into an ILA model name the file.

    Args:
        filename (str): The file.
        map_location (Any): See :func:`torch.load`.

    Returns:
        dict: The checkpoint.
    """
    filename = os.path.expanduser(filename)
    with _naming(filename):
        checkpoint = _read_archive(filename) or load_from_local(
            filename, map_location)
    try:
        weights = find_weights(checkpoint, filename)
    except ValueError:
        return checkpoint  # Nothing that is known here.
    own = checkpoint if 'state_dict' in checkpoint else dict()
    state_dict = OrderedDict(weights)
    versions = getattr(own.get('state_dict'), '_metadata', dict())
    state_dict._metadata = {**versions, '': dict(source=filename)}
    return {**own, 'state_dict': state_dict}


def hash_weights(state_dict: StateDict) -> str:
    """Compute the SHA-256 of names, types, shapes and values of weights."""
    digest = hashlib.sha256()
    for name, value in sorted(state_dict.items()):
        digest.update(f'{name} {value.dtype} {tuple(value.shape)}'.encode())
        data = value.detach().cpu().contiguous().reshape(-1)
        digest.update(data.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def write_checkpoint(path: str, checkpoint: dict) -> None:
    """Write weights; a failure leaves no file.

    Args:
        path (str): The file, ``.safetensors`` or anything else for PyTorch's
            own format.
        checkpoint (dict): ``state_dict`` or, for the released code,
            ``model``, with the weights, and ``meta`` with plain data about
            them as entry ``ila``.

    Raises:
        ValueError: The released code can not read such a file.
    """
    if path.endswith('.safetensors') and 'state_dict' not in checkpoint:
        raise ValueError(f"'{path}': the released code reads no safetensors; "
                         'end its name with .pth')
    os.makedirs(os.path.dirname(path) or os.curdir, exist_ok=True)
    with replacing(path) as partial:
        if path.endswith('.safetensors'):
            weights = {
                name: value.contiguous()
                for name, value in checkpoint['state_dict'].items()
            }
            meta = json.dumps(checkpoint['meta']['ila'])
            save_file(weights, partial, dict(format='pt', ila=meta))
        else:
            torch.save(checkpoint, partial)
