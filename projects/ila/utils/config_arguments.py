"""Arguments of the classes that a config names."""
import collections.abc
import inspect
import typing
from functools import lru_cache
from typing import Any, Dict, List, Optional, Set, Tuple

import mmengine.registry
import torch
from mmengine.registry import Registry
from mmengine.utils import get_object_from_string
from torch import nn

from mmaction import registry
from mmaction.utils import get_str_type

_NUMBERS = {int: 'a number', float: 'a number', bool: 'True or False'}
# MMAction2's `BaseHead` annotates it as a dict, but accepts a string.
_WRONG_HINTS = {('mmaction.models.heads.base', 'average_clips')}
_LISTS = list, tuple, collections.abc.Sequence, collections.abc.Iterable


def find_class(kind: Any) -> Optional[Any]:
    """Find the class or function for a config's ``type``."""
    if not isinstance(kind, str):
        return kind
    for candidate in list_registries():
        # `get` would look for a package of that name in each registry.
        for place in (candidate, candidate.parent):
            if place is not None and kind in place.module_dict:
                return place.module_dict[kind]
    for candidate in list_registries():
        try:
            found = candidate.get(kind)
        except (ImportError, RuntimeError, TypeError):
            continue  # The scope was taken for a package.
        if found is not None:
            return found
    return None


def find_name(kind: Any) -> str:
    """Get the name of a config's ``type``, without scope or module."""
    return (get_str_type(kind) or str(kind)).rpartition('.')[2]


def list_registries() -> List[Registry]:
    return [
        candidate for candidate in (*vars(registry).values(),
                                    mmengine.registry.STRATEGIES)
        if isinstance(candidate, Registry)
    ]


def list_arguments(kind: Any) -> Tuple[Set[str], bool]:
    """List the arguments of a class or function.

    Returns:
        tuple: Names of arguments, including those passed on to base classes or
        to the entries of ``hands_on``; and whether it accepts other names.
    """
    if not inspect.isclass(kind):
        signature = inspect.signature(kind)
        names, others = _split(signature)
        made = signature.return_annotation
        if not others or not inspect.isclass(made):
            return names, others
        handed_on, others = list_arguments(made)
        return names | handed_on, others
    names, others = set(), False
    for other in getattr(kind, 'hands_on', ()):
        if isinstance(other, str):
            other = get_object_from_string(other)
        names |= list_arguments(other)[0]
    for base in kind.__mro__:
        if base in (object, torch.nn.Module):
            return names, base is object and others
        if '__init__' in vars(base):
            own, others = _split(inspect.signature(base.__init__))
            names |= own
            if not others:
                break
    return names, others


def _split(signature: inspect.Signature) -> Tuple[Set[str], bool]:
    parameters = signature.parameters.values()
    names = {
        parameter.name
        for parameter in parameters
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD,
                              parameter.KEYWORD_ONLY)
    }
    return names, any(parameter.kind is parameter.VAR_KEYWORD
                      for parameter in parameters)


@lru_cache(None)
def find_hints(kind: Any) -> Dict[str, Any]:
    """Find the annotated types of a class's or function's arguments."""
    hints: Dict[str, Any] = dict()
    makers = [kind]
    if inspect.isclass(kind):
        makers = [
            vars(base)['__init__'] for base in kind.__mro__
            if '__init__' in vars(base)
        ]
    for maker in makers:
        try:
            found = typing.get_type_hints(maker)
        except Exception:  # Types that exist only for type checkers.
            continue
        for name, hint in found.items():
            if (maker.__module__, name) not in _WRONG_HINTS:
                hints.setdefault(name, hint)
    return hints


def _list_forms(hint: Any) -> Set[str]:
    """List the forms that a type can have in a config; empty if unknown."""
    origin, parts = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin is typing.Union or type(hint).__name__ == 'UnionType':
        forms = [_list_forms(part) for part in parts]
        # A setting that may be a dict may also be an object of any class.
        if {'a dict'} in forms:
            forms = [
                form for part, form in zip(parts, forms)
                if form or not inspect.isclass(part)
            ]
        return set().union(*forms) if all(forms) else set()
    if hint is type(None):
        return {'None'}
    if origin in _NUMBERS:
        return {_NUMBERS[origin]}
    if origin is str:
        return {'a text'}
    if inspect.isclass(origin):
        if issubclass(origin, collections.abc.Mapping):
            return {'a dict'}
        if issubclass(origin, (torch.Tensor, nn.Module)):
            return {'None'}
        # A number often stands for a list of equal numbers.
        if origin in _LISTS and parts and 'a dict' in _list_forms(parts[0]):
            return {'a list'}
    return set()


def find_mismatch(value: Any, hint: Any) -> Optional[str]:
    """Find which form a setting must have, if it has a wrong one.

    Only settings that are numbers or strings are checked.

    Args:
        value (Any): The setting.
        hint (Any): Annotation of the argument.

    Returns:
        str, optional: The required form. None if the setting may be right.
    """
    forms = _list_forms(hint) - {'None'}
    if not forms or not isinstance(value, (int, float, str)):
        return None
    if isinstance(value, str):
        fits = 'a text' in forms
    else:
        fits = not forms <= {'a text', 'a dict', 'a list'}
    return None if fits else ' or '.join(sorted(forms))
