"""Repairs for environments in which MMAction2 1.2.0 does not work.

None of them changes a working environment.
"""
import importlib
import logging
import pickle
import sys
import warnings
from collections import OrderedDict
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from typing import Any, Callable, Dict, Sequence

import mmengine._strategy.deepspeed as strategy
import numpy as np
import torch
from mmengine.logging import HistoryBuffer, print_log
from mmengine.registry import OPTIMIZERS, Registry
from mmengine.runner import checkpoint
from mmengine.utils import digit_version

import mmaction
from mmaction.registry import MODELS


def apply() -> None:
    """Make MMAction2 importable and MMEngine's checkpoints loadable.

    It must run before ``mmaction.models`` is imported, and may run again.
    """
    import_mmcv_quietly()
    provide_drn()
    for package in ('mmpretrain', 'mmaction'):
        leave_out_broken_multimodal(package)
    allow_runner_checkpoints()
    log_loading()
    ignore_deprecated_scaler()
    leave_out_removed_deepspeed_optimizers()


def import_mmcv_quietly() -> None:
    """Import mmcv-lite without its advice to install the full mmcv.

    Nothing here uses the compiled operators of the full mmcv.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings(
            'ignore', message='Fail to import ``MultiScaleDeformableAttention')
        importlib.import_module('mmcv.cnn.bricks.transformer')


def provide_drn() -> None:
    """Replace ``mmaction.models.localizers.drn`` if it is missing.

    The package of MMAction2 1.2.0 on PyPI was built without this folder, which
    ``mmaction.models`` imports.
    """
    name = 'mmaction.models.localizers.drn'
    # `find_spec(name)` would import `mmaction.models`, which fails.
    localizers = [
        str(Path(root, 'models', 'localizers')) for root in mmaction.__path__
    ]
    if name in sys.modules or PathFinder.find_spec(name, localizers):
        return
    package, module = (
        module_from_spec(ModuleSpec(full_name, loader=None, is_package=True))
        for full_name in (name, f'{name}.drn'))
    package.drn = module
    module.DRN = _placeholder(
        'DRN', 'the installed mmaction2 was packaged without '
        'mmaction/models/localizers/drn. Please install MMAction2 from its '
        'git repository to use DRN')
    MODELS.register_module(name='DRN', module=module.DRN)
    sys.modules.update({name: package, f'{name}.drn': module})


def leave_out_broken_multimodal(package: str) -> None:
    """Leave the multimodal models out of a package if they break its import.

    They need names that later releases of transformers lack. Placeholders are
    registered instead, like the package does without transformers.
    """
    if find_spec(package) is None:
        return
    dependency = importlib.import_module(f'{package}.utils.dependency')
    if not dependency.WITH_MULTIMODAL:
        return
    try:
        importlib.import_module(f'{package}.models')
        return
    except Exception as error:  # The kind depends on transformers' release.
        reason = (f'{package}.models.multimodal does not work with the '
                  f'installed transformers ({error}). Please install an older '
                  'release of transformers to use it')

    # Models registered before the failure would clash with placeholders.
    for registry in vars(
            importlib.import_module(f'{package}.registry')).values():
        if isinstance(registry, Registry):
            for name, module in list(registry.module_dict.items()):
                if module.__module__.startswith(
                        f'{package}.models.multimodal'):
                    del registry.module_dict[name]

    def register_placeholders(names: Sequence[str],
                              registry: Registry) -> None:
        for name in names:
            registry.register_module(
                name=name, module=_placeholder(name, reason))

    healthy = dict(vars(dependency))
    dependency.WITH_MULTIMODAL = False
    dependency.register_multimodal_placeholder = register_placeholders
    try:
        importlib.import_module(f'{package}.models')
    finally:
        vars(dependency).update(healthy)


def runner_globals() -> Dict[str, Any]:
    """Get the objects that checkpoints of MMEngine's ``Runner`` may refer to.

    In addition to tensors, these checkpoints hold the history of logged values
    and NumPy's numbers and arrays; checkpoints of the released ILA hold their
    config. If an object could do more than checkpoints need, a substitute is
    used: none of the objects can run code from a file. Keys are the names in
    the file.
    """
    names = {
        'mmengine.logging.history_buffer.HistoryBuffer': HistoryBuffer,
        'numpy.dtype': _get_plain_dtype,
        # If a file could call the original, any bytes could become pointers.
        # Only `_make_array` needs the class.
        'numpy.ndarray': _NoArray,
        # Pickle refers to the methods in a HistoryBuffer through `getattr`,
        # which could access anything.
        'builtins.getattr': _get_statistic,
        # A dict of plain values.
        'yacs.config.CfgNode': OrderedDict
    }
    scalar = np.float64(0).__reduce__()[0]
    # A checkpoint may come from NumPy 1 as well as from NumPy 2.
    for core in ('numpy.core', 'numpy._core'):
        names[f'{core}.multiarray._reconstruct'] = _make_array
        names[f'{core}.multiarray.scalar'] = scalar
    return names


def allow_runner_checkpoints() -> None:
    """Let ``torch.load`` read the checkpoints of MMEngine's ``Runner``.

    This adds :func:`runner_globals` to the types that ``weights_only``
    accepts. PyTorch before 2.6 has no such list.
    """
    if digit_version(torch.__version__) < digit_version('2.6.0'):
        return
    safe = [(value, name) for name, value in runner_globals().items()]
    # Loading also sets the state of arrays and of their types. No file can
    # refer to these names, since they contain a line break.
    types = [np.ndarray] + [type(np.dtype(name)) for name in _PLAIN_DTYPES]
    safe += [(kind, f'{kind.__name__}\n') for kind in types]
    torch.serialization.add_safe_globals(safe)


_PLAIN_DTYPES = ('f8', 'f4', 'f2', 'i8', 'i4', 'i2', 'i1', 'u8', 'u4', 'u2',
                 'u1', 'b1')


def log_loading() -> None:
    """Make MMEngine log the messages that it prints when weights are loaded.

    Its runner passes no logger, so the log file would lack the names of
    missing weights.
    """

    def log(msg: str, logger: Any = None, level: int = logging.INFO) -> None:
        print_log(msg, logger or 'current', level)

    checkpoint.print_log = log


def ignore_deprecated_scaler() -> None:
    """Ignore a warning that MMEngine 0.10.7 uses the old ``GradScaler``."""
    warnings.filterwarnings(
        'ignore',
        message='`torch.cuda.amp.GradScaler',
        category=FutureWarning,
        module='mmengine')


class _NoArray:
    """Replaces ``numpy.ndarray`` in checkpoints."""


def _make_array(*args) -> np.ndarray:
    """Make an empty array, whose state follows in the checkpoint."""
    return np.empty(0, np.int8)


def _get_plain_dtype(name: str, *args) -> np.dtype:
    """Replace ``numpy.dtype``, for types of plain numbers only.

    NumPy's own objects are returned, whose state cannot be changed. A changed
    state of a copy could turn bytes into pointers.
    """
    if name not in _PLAIN_DTYPES:
        raise pickle.UnpicklingError(
            f'Unsupported global: numpy.dtype({name!r})')
    return np.dtype(name)


def _get_statistic(owner: Any, name: str) -> Callable:
    """Replace ``getattr``, for the statistics of a ``HistoryBuffer`` only."""
    if owner is HistoryBuffer and name in ('min', 'max', 'current', 'mean'):
        return getattr(HistoryBuffer, name)
    raise pickle.UnpicklingError(
        f'The checkpoint asks for the attribute {name!r} of {owner!r}, which '
        'is not allowed while loading weights.')


def leave_out_removed_deepspeed_optimizers() -> None:
    """Let MMEngine 0.10.7 use a DeepSpeed without 1-bit optimizers."""
    if (strategy.deepspeed is None
            or find_spec('deepspeed.runtime.fp16.onebit')):
        return

    def register_deepspeed_optimizers() -> None:
        from deepspeed.ops.adam import DeepSpeedCPUAdam, FusedAdam
        from deepspeed.ops.lamb import FusedLamb
        for optimizer in (DeepSpeedCPUAdam, FusedAdam, FusedLamb):
            OPTIMIZERS.register_module(module=optimizer, force=True)

    strategy.register_deepspeed_optimizers = register_deepspeed_optimizers


def _placeholder(name: str, reason: str) -> Callable:
    """Make a placeholder that raises why a model is not available."""

    def refuse(*args, **kwargs):
        raise ImportError(f'{name} is not available: {reason}.')

    return refuse
