"""Find keys of ``optim_wrapper.paramwise_cfg`` that have no effect."""
import logging
import re
from difflib import get_close_matches
from typing import Any, Iterator

from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from mmaction.engine.optimizers import SwinOptimWrapperConstructor
from .config_arguments import find_class

_OF_DEFAULT = ('custom_keys', 'bias_lr_mult', 'bias_decay_mult',
               'norm_decay_mult', 'dwconv_decay_mult', 'flat_decay_mult',
               'dcn_offset_lr_mult', 'bypass_duplicate')
_FACTORS = 'lr_mult', 'decay_mult'
_PLACE = 'optim_wrapper.paramwise_cfg'
SIMILAR = 0.85


def _find_constructor(optim_wrapper: dict) -> Any:
    return find_class(
        optim_wrapper.get('constructor', 'DefaultOptimWrapperConstructor'))


def find_wrong_keys(optim_wrapper: Any) -> Iterator[str]:
    """Describe keys that an optimizer wrapper's constructor does not accept.

    Keys of MMEngine's default constructor and of
    ``SwinOptimWrapperConstructor`` are checked. The latter accepts parts of
    parameter names.
    """
    if not isinstance(optim_wrapper, dict):
        return
    cfg = optim_wrapper.get('paramwise_cfg')
    kind = _find_constructor(optim_wrapper)
    if not isinstance(cfg, dict):
        return
    by_name, place = dict(), _PLACE
    if kind is DefaultOptimWrapperConstructor:
        for key in cfg:
            if key not in _OF_DEFAULT:
                nearest = get_close_matches(key, _OF_DEFAULT, 1, 0)[0]
                yield (f"`{place}` has no key '{key}'; did you mean "
                       f"'{nearest}'? Parts of names go into `custom_keys`")
        by_name, place = cfg.get('custom_keys', dict()), f'{place}.custom_keys'
    elif kind is SwinOptimWrapperConstructor:
        by_name = cfg
    for key, factors in by_name.items():
        if not isinstance(factors, dict):
            yield (f"`{place}` must have a dict of {' and '.join(_FACTORS)} "
                   f"for '{key}', got {factors!r}")
            continue
        for name in factors:
            nearest = get_close_matches(name, _FACTORS, 1, SIMILAR)
            # The default constructor passes others on to the optimizer.
            if name not in _FACTORS and (nearest or by_name is cfg):
                yield (f"`{place}` has no key '{name}' for '{key}'; it takes "
                       f"{' and '.join(_FACTORS)}")


def report_unmatched(optim_wrapper: Any, model: Any) -> None:
    """Log parts of names in ``paramwise_cfg`` that match no parameter.

    They may be meant for other models, since configs are inherited. A part
    that is similar to a name in this model is logged as a warning. Models that
    are not built yet, such as sharded models, are skipped.
    """
    if not isinstance(optim_wrapper, dict) or not isinstance(model, nn.Module):
        return
    cfg = optim_wrapper.get('paramwise_cfg') or dict()
    if _find_constructor(optim_wrapper) is not SwinOptimWrapperConstructor:
        cfg = cfg.get('custom_keys', dict())
    # Names as in the constructor.
    names = [f'base.{name}' for name, _ in model.named_parameters()]
    unmatched = [key for key in cfg if not any(key in name for name in names)]
    if not unmatched:
        return
    parts = {part for name in names for part in name.split('.')}
    message, level = '', logging.INFO
    for key in unmatched:
        for part in filter(None, re.split(r'\.', key)):
            nearest = get_close_matches(part, parts, 1, SIMILAR)
            if part not in parts and nearest:
                message += f". For '{key}', did you mean '{nearest[0]}'?"
                level = logging.WARNING
    print_log(
        f'`{_PLACE}`: no parameter of the model has in its name: '
        f"{', '.join(map(repr, unmatched))}{message}",
        logger='current',
        level=level)
