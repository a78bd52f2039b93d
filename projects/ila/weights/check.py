"""Checks that weights fit a model."""
from typing import Iterable, Set

import torch
from torch import Tensor

from .names import StateDict, is_temporal, is_text_feature
from .released_names import has_released_form

_TOWER = 'cls_head.text_encoder.'


def _list(names: Iterable[str]) -> str:
    return ', '.join(sorted(names)[:3]) or 'none'


def describe_mismatch(missing: Iterable[str],
                      surplus: Iterable[str],
                      model: str = 'model') -> str:
    """Describe the entries that weights or a ``model`` lack."""
    missing, surplus = [*missing], [*surplus]
    return (f'the weights lack {len(missing)} entries that the {model} needs '
            f'({_list(missing)}) and have {len(surplus)} that it lacks '
            f'({_list(surplus)})')


def _temporal_parts(state_dict: StateDict) -> Set[str]:
    """Get the parts of temporal modules that have weights."""
    return {name.split('.')[3] for name in state_dict if is_temporal(name)}


def _is_interpolated(name: str, own: Tensor, given: Tensor) -> bool:
    """Whether a weight is a position embedding, resized when loaded."""
    return (name.endswith('pos_embed') and given.dim() == own.dim()
            and given.shape[-1] == own.shape[-1])


def _is_plain(value: Tensor) -> bool:
    """Whether a tensor is dense, with a number in memory per element."""
    return (value.layout is torch.strided and not value.is_quantized
            and not value.is_nested and not value.is_complex()
            and value.device.type != 'meta' and value.itemsize * value.numel()
            <= value.untyped_storage().nbytes())


def check_finite(state_dict: StateDict) -> None:
    """Refuse weights with NaN or infinite values.

    A model would still give predictions and accuracies, but these would mean
    nothing.

    Raises:
        ValueError: Weights are NaN or infinite, or are not plain tensors, so
            that they cannot be checked.
    """
    odd = [name for name, value in state_dict.items() if not _is_plain(value)]
    if odd:
        raise ValueError(
            f'{len(odd)} of the weights ({_list(odd)}) are quantised, sparse, '
            'nested, complex or without values of their own; save them as '
            'plain tensors')

    def is_finite(value: Tensor) -> bool:
        # Minimum and maximum are NaN if any value is. Checking each value
        # would take many times as long.
        if value.itemsize == 1:  # 8-bit types have few functions.
            value = value.float()
        return all(torch.isfinite(part) for part in value.aminmax())

    broken = [
        name for name, value in state_dict.items()
        if value.is_floating_point() and value.numel() and not is_finite(value)
    ]
    if broken:
        raise ValueError(
            f'NaN or infinite values in {len(broken)} of the weights '
            f'({_list(broken)}); take an earlier checkpoint of the training')


def check_weights(own: StateDict,
                  state_dict: StateDict,
                  partial: bool = True) -> None:
    """Refuse weights that would leave parts of an ILA model uninitialised.

    MMEngine skips weights whose name or shape does not fit, and only logs it.

    Args:
        own (dict[str, Tensor]): The state dict of an ``ILARecognizer``.
        state_dict (dict[str, Tensor]): The weights, with the same names.
        partial (bool): Whether weights of plain CLIP or with another head are
            accepted, as at the start of a training.

    Raises:
        ValueError: The weights are of another temporal module or size,
            contain NaN or infinite values, or lack required entries; unless
            ``partial``, all entries are required.
    """
    parts, own_parts = _temporal_parts(state_dict), _temporal_parts(own)
    if parts and parts != own_parts:
        fix = '`, or take the config that the weights were trained with'
        if has_released_form(state_dict):
            fix = ".type='ReleasedAlignment'`, or take a config of "
            fix += 'configs/released/'
        raise ValueError(
            f'the weights have {_list(parts - own_parts)} in their temporal '
            f'modules that the model lacks, and lack '
            f'{_list(own_parts - parts)}; fix '
            f'`model.backbone.temporal{fix}')
    names = {name for name in own if not is_text_feature(name)}
    given = {name for name in state_dict if not is_text_feature(name)}
    if not any(name.startswith(_TOWER) for name in names):
        given = {name for name in given if not name.startswith(_TOWER)}
    if partial and not names & given:
        raise ValueError(
            'the weights have no name in common with the model '
            f'({_list(given)}); take an ILA checkpoint or weights of CLIP')

    def is_needed(name: str) -> bool:
        if not partial or name.startswith(_TOWER):
            return True
        if '.lora_' in name:
            return any('.lora_' in other for other in given)
        if name.startswith('neck.') or is_temporal(name):
            return bool(parts)
        return name.startswith('backbone.')

    check_finite({
        # In the type of the model: float64 has larger numbers than float32.
        name:
        value.to(own[name].dtype) if value.dtype == torch.double
        and name in own and own[name].is_floating_point() else value
        for name, value in state_dict.items()
        if name in given or is_text_feature(name)
    })
    for name in sorted(filter(is_needed, names & given)):
        if (own[name].shape != state_dict[name].shape
                and not _is_interpolated(name, own[name], state_dict[name])):
            raise ValueError(
                f"the weights' '{name}' is {tuple(state_dict[name].shape)}, "
                f"the model's {tuple(own[name].shape)}; fix `arch` and the "
                'sizes of `model`, or take the weights of that size')
        if (own[name].is_floating_point()
                and not state_dict[name].is_floating_point()):
            raise ValueError(
                f"the weights' '{name}' are {state_dict[name].dtype}, which "
                'have lost their fractions; save them as floating point')
    missing = set(filter(is_needed, names - given))
    left_over = set(filter(is_needed, given - names))
    if missing or left_over:
        fix = 'take the config that the weights were trained with'
        if partial:
            fix = "fix `model.backbone`, or take the model's own weights"
        if missing and all(name.startswith(_TOWER) for name in missing):
            fix = "take weights that hold CLIP's text tower too"
        raise ValueError(f'{describe_mismatch(missing, left_over)}; {fix}')
