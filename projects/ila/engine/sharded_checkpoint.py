"""Checkpoints of sharded trainings, which are folders.

``torch.distributed.checkpoint`` reads and writes the tensors; each process
handles its own shards. Everything else that a training saves is in
``training.pth``. The full weights are also in ``weights.pth``.
"""
import os
import os.path as osp
import pickle
from pathlib import PurePath
from typing import Dict, Sequence

import torch
import torch.distributed.checkpoint as dcp
from mmengine.dist import is_main_process
from torch import Tensor
from torch.distributed.checkpoint import filesystem, metadata

from ..utils import replacing
from ..weights import read_checkpoint
from ..weights.names import StateDict
from ..weights.torch_file import restricted_pickle

# The parts of a checkpoint that hold sharded tensors.
_PARTS = 'state_dict', 'ema_state_dict', 'gradients'
_TRAINING, _WEIGHTS = 'training.pth', 'weights.pth'
# Classes that may occur in the description of the tensors.
_NAMES = {
    f'{kind.__module__}.{kind.__qualname__}': kind
    for module in (metadata, filesystem)
    for kind in vars(module).values()
    if isinstance(kind, type) and kind.__module__ == module.__name__
}
# The description contains the path where it was saved.
_NAMES.update((f'{module}.{kind}', PurePath)
              for module in ('pathlib', 'pathlib._local')
              for kind in ('PosixPath', 'WindowsPath'))


class _Reader(dcp.FileSystemReader):
    """Reads checkpoints without running code from them."""

    def read_metadata(self, *args, **kwargs) -> metadata.Metadata:
        with open(osp.join(self.path, '.metadata'), 'rb') as file:
            description = restricted_pickle(_NAMES).load(file)
        return description


def _full(value: Tensor) -> Tensor:
    """Gather a tensor from all processes."""
    return value.full_tensor() if hasattr(value, 'full_tensor') else value


def save_sharded(folder: str, state: dict, scalars: Sequence[str]) -> None:
    """Save a checkpoint, in all processes together.

    Args:
        folder (str): Folder of the checkpoint.
        state (dict): The checkpoint as MMEngine would save it, but with
            sharded tensors and the optimizer's state by parameter names.
        scalars (Sequence[str]): Weights of one number, which
            ``weights.pth`` stores without a dimension.
    """
    tensors = {
        f'{part}/{name}': value
        for part in _PARTS
        for name, value in state.get(part, {}).items()
    }
    training = {
        name: value
        for name, value in state.items() if name not in _PARTS
    }
    if 'optimizer' in state:
        training['optimizer'] = dict(state['optimizer'], state=None)
        for name, slots in state['optimizer']['state'].items():
            for slot, value in slots.items():
                tensors[f'optimizer/{name}/{slot}'] = value
    dcp.save(tensors, storage_writer=dcp.FileSystemWriter(folder))

    weights = dict()
    for name, value in state['state_dict'].items():
        value = _full(value)
        if is_main_process():
            weights[name] = value.cpu()
            if name in scalars:
                weights[name] = weights[name].squeeze(0)
    if is_main_process():
        for name, content in ((_TRAINING, training),
                              (_WEIGHTS,
                               dict(state_dict=weights, meta=state['meta']))):
            with replacing(osp.join(folder, name)) as partial:
                torch.save(content, partial)


def load_sharded(folder: str, own: StateDict) -> dict:
    """Load a checkpoint, in all processes together.

    Args:
        folder (str): A folder from :func:`save_sharded`, written by any
            number of processes.
        own (dict[str, Tensor]): The model's state dict. The tensors of the
            checkpoint are sharded like its tensors.

    Returns:
        dict: The checkpoint that was saved.

    Raises:
        ValueError: The folder is not such a checkpoint, or is damaged.
    """
    check_sharded(folder)
    reader = _Reader(folder)
    tensors: Dict[str, Tensor] = dict()
    for key, saved in reader.read_metadata().state_dict_metadata.items():
        part, name = key.split('/', 1)
        if part == 'optimizer':
            name = name.rpartition('/')[0]
        elif part == 'ema_state_dict':
            name = name.removeprefix('module.')
        like, dtype = own.get(name), saved.properties.dtype
        if like is not None and like.shape == saved.size:
            tensors[key] = torch.empty_like(like, dtype=dtype)
        else:
            tensors[key] = torch.empty(saved.size, dtype=dtype)
    dcp.load(tensors, storage_reader=reader)

    checkpoint = read_checkpoint(osp.join(folder, _TRAINING))
    if 'optimizer' in checkpoint:
        checkpoint['optimizer']['state'] = dict()
    for key, value in tensors.items():
        part, name = key.split('/', 1)
        if part == 'optimizer':
            name, _, slot = name.rpartition('/')
            slots = checkpoint['optimizer']['state'].setdefault(name, dict())
            slots[slot] = value
        else:
            checkpoint.setdefault(part, dict())[name] = value
    return checkpoint


def is_sharded(path: str) -> bool:
    """Whether a path leads to a sharded checkpoint."""
    return osp.isfile(osp.join(path, _TRAINING))


def check_sharded(folder: str) -> None:
    """Check that a folder holds a complete sharded checkpoint.

    Raises:
        ValueError: It does not hold one.
    """
    if not is_sharded(folder):
        raise ValueError(
            f"'{folder}' is not a checkpoint of a training sharded by FSDP; "
            'resume it as it was trained, or begin another run from its '
            'weights: `load_from`, without --resume')
    try:
        description = _Reader(folder).read_metadata()
        for part in description.storage_data.values():
            path = osp.join(folder, part.relative_path)
            if os.path.getsize(path) < part.offset + part.length:
                raise OSError(f'{part.relative_path} is truncated')
    except (OSError, EOFError, AttributeError,
            pickle.UnpicklingError) as error:
        raise ValueError(
            f"checkpoint '{folder}' cannot be read: it is truncated, damaged "
            f'or something else ({error}); resume from an earlier one'
        ) from None
