"""Weight files: reading without running code from them, and writing."""
import hashlib
import json
import os
import pickle
import re
from collections import OrderedDict
from contextlib import contextmanager
from typing import Any, Iterator

import safetensors
import torch
from mmengine.runner import CheckpointLoader
from mmengine.runner.checkpoint import _process_mmcls_checkpoint
from safetensors.torch import save_file
from torch import Tensor

from ..utils.atomic_file import replacing
from .names import StateDict
from .remote_file import local_copy
from .torch_file import check_crc, load_data
from .torchscript import find_torchscript, read_torchscript


def _read_safetensors(path: str) -> dict:
    with safetensors.safe_open(path, 'pt') as file:
        meta = json.loads((file.metadata() or {}).get('ila', '{}'))
        weights = {name: file.get_tensor(name) for name in file.keys()}
    return dict(state_dict=weights, meta=dict(ila=meta) if meta else {})


def _is_safetensors(path: str) -> bool:
    """Whether a file begins with the length of a header in JSON."""
    with open(path, 'rb') as file:
        return file.read(9)[8:] == b'{'


@contextmanager
def _naming(name: str, path: str) -> Iterator[None]:
    """Turn any failure to read a file into one clear error.

    Args:
        name (str): Name of the file, as the user gave it.
        path (str): Path of the file.
    """
    if not os.path.exists(path):
        raise FileNotFoundError(f"weight file '{name}' does not exist; fix "
                                'its path or put it there')
    if os.path.isfile(os.path.join(path, 'weights.pth')):
        raise ValueError(
            f"'{name}' is the checkpoint of a training with `strategy`; resume"
            " it with the same, or take 'weights.pth' in it for its weights")
    if not os.path.isfile(path):
        raise ValueError(f"weight file '{name}' cannot be read: it is a "
                         'folder, a pipe or a device; give the path of a file')
    if not os.path.getsize(path):
        raise ValueError(f"weight file '{name}' cannot be read: it is empty; "
                         'download or save it again')
    try:
        yield
    except PermissionError as error:
        raise ValueError(f"weight file '{name}' cannot be read "
                         f'({error.strerror}); change its permissions or '
                         'copy it') from None
    except Exception as error:  # Its type depends on what is broken.
        unsupported = re.search(r'(?i)unsupported global\S*( global)? \S+',
                                str(error))
        if isinstance(error, pickle.UnpicklingError) and unsupported:
            raise ValueError(
                f"weight file '{name}' holds more than data, and loading it "
                f'could run code ({unsupported[0]}); take a file that holds '
                'tensors only') from None
        # Only the reason, without PyTorch's advice to run the code.
        reason = re.search(r'WeightsUnpickler error:\s*(.+)', str(error))
        reason = reason[1] if reason else str(error).split('\n')[0]
        raise ValueError(
            f"weight file '{name}' cannot be read: it is truncated, damaged "
            'or something else; download or save it again '
            f'({reason})') from None


def _check_hash(checkpoint: Any) -> None:
    """Compare weights with the hash that was saved with them."""
    expected = checkpoint
    for key in ('meta', 'ila', 'weights_sha256'):
        expected = expected.get(key) if isinstance(expected, dict) else None
    if expected is None:
        return  # Only converted files have one.
    weights = checkpoint.get('state_dict', checkpoint.get('model'))
    if hash_weights(weights) != expected:
        raise ValueError('its weights are not those that `weights_sha256` of '
                         'its metadata was computed from')


def _read(path: str, map_location: Any = 'cpu') -> Any:
    """Read any weight file, and check its checksums and its hash."""
    if _is_safetensors(path):
        checkpoint = _read_safetensors(path)
    else:
        check_crc(path)
        root = find_torchscript(path)
        if root is not None:
            return dict(state_dict=read_torchscript(path, root))
        # Not by path: PyTorch would guess the format from the name.
        with open(path, 'rb') as file:
            checkpoint = load_data(file, map_location)
    _check_hash(checkpoint)
    return checkpoint


def read_checkpoint(path: str) -> dict:
    """Read a weight file without running code from it.

    Args:
        path (str): A checkpoint or state dict saved by PyTorch, a TorchScript
            archive, from which only tensors are read, or a safetensors file;
            see :func:`local_copy` for URLs.

    Returns:
        dict: Content of the file. The weights of archives and safetensors are
        the entry ``state_dict``.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file cannot be fetched, is damaged or holds more than
            data.
    """
    with local_copy(path) as local, _naming(path, local):
        return _read(local)


def find_weights(checkpoint: dict, path: str) -> StateDict:
    """Find the weights in the content of a file.

    Args:
        checkpoint (dict): From :func:`read_checkpoint`.
        path (str): The file, for the error message.

    Returns:
        dict[str, Tensor]: The weights, without the prefixes ``module.`` of
        distributed training and ``_orig_mod.`` of ``torch.compile``.

    Raises:
        ValueError: There are none.
    """
    weights = checkpoint
    for entry in ('state_dict', 'model'):
        if isinstance(weights, dict) and isinstance(weights.get(entry), dict):
            weights = weights[entry]
    if not isinstance(weights, dict) or not weights or not all(
            isinstance(name, str) and isinstance(value, Tensor)
            for name, value in weights.items()):
        raise ValueError(f"weight file '{path}' holds no weights; take a "
                         'checkpoint or a state dict')
    return {
        re.sub(r'^(module\.|_orig_mod\.)+', '', name): value
        for name, value in weights.items()
    }


# All loaders are replaced, since others would read files differently.
@CheckpointLoader.register_scheme(
    prefixes=list(CheckpointLoader._schemes), force=True)
def load_from_file(filename: str, map_location: Any = None) -> dict:
    """Read a file for MMEngine's ``load_from``, ``resume`` and ``Pretrained``.

    It is the loader for all of MMEngine's schemes. In addition to MMEngine's
    own checkpoints, it reads TorchScript archives, safetensors and checkpoints
    of the released ILA. Errors in loading the weights into an ILA model name
    the file.

    Args:
        filename (str): The file: a path, a URL or the name of a model that
            MMEngine knows, such as ``'torchvision://resnet50'``.
        map_location (Any): See :func:`torch.load`.

    Returns:
        dict: The checkpoint.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: It cannot be fetched, is damaged or holds more than data.
    """
    with local_copy(filename) as path, _naming(filename, path):
        checkpoint = _read(path, map_location)
    if filename.startswith('mmcls://'):
        checkpoint = _process_mmcls_checkpoint(checkpoint)
    try:
        weights = find_weights(checkpoint, filename)
    except ValueError:
        return checkpoint  # Without weights, it is left to the caller.
    own = checkpoint if 'state_dict' in checkpoint else dict()
    if isinstance(own.get('meta'), dict):
        # MMEngine would run this entry as Python when it resumes.
        own['meta'].pop('config', None)
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
        path (str): The file: ``.safetensors``, or any other extension for
            PyTorch's own format.
        checkpoint (dict): The weights as ``state_dict`` or, for the released
            code, as ``model``; and ``meta``, with plain data about them as
            entry ``ila``.

    Raises:
        ValueError: The released code cannot read such a file.
    """
    if path.endswith('.safetensors') and 'state_dict' not in checkpoint:
        raise ValueError(f"'{path}': the released code reads no safetensors; "
                         'end its name with .pth')
    os.makedirs(os.path.dirname(path) or os.curdir, exist_ok=True)
    with replacing(path) as partial:
        if path.endswith('.safetensors'):
            weights, places = dict(), set()
            for name, value in checkpoint['state_dict'].items():
                # Safetensors refuses memory that several names share.
                place = value.untyped_storage().data_ptr()
                value = value.contiguous()
                weights[name] = value.clone() if place in places else value
                places.add(place)
            meta = json.dumps(checkpoint['meta']['ila'])
            save_file(weights, partial, dict(format='pt', ila=meta))
        else:
            torch.save(checkpoint, partial)
