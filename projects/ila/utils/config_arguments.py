"""What the classes that a config names take as arguments."""
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

_NUMBERS = {int: 'a number', float: 'a number', bool: 'True or False'}
# MMAction2 annotates it as a dict in its `BaseHead`, but takes a text.
_WRONG_HINTS = {('mmaction.models.heads.base', 'average_clips')}
_LISTS = list, tuple, collections.abc.Sequence, collections.abc.Iterable


def find_class(kind: Any) -> Optional[Any]:
    """Find what a config's ``type`` stands for."""
    if not isinstance(kind, str):
        return kind
    for candidate in list_registries():
        # `get` would look for a package of that name in each of them.
        for place in (candidate, candidate.parent):
            if place is not None and kind in place.module_dict:
                return place.module_dict[kind]
    for candidate in list_registries():
        try:
            found = candidate.get(kind)
        except ImportError:  # Of a scope that it takes for a package.
            continue
        if found is not None:
            return found
    return None


def list_registries() -> List[Registry]:
    return [
        candidate for candidate in (*vars(registry).values(),
                                    mmengine.registry.STRATEGIES)
        if isinstance(candidate, Registry)
    ]


def list_arguments(kind: Any) -> Tuple[Set[str], bool]:
    """List what a class or function takes.

    Returns:
        tuple: Names of arguments, also those that it hands on to base classes
        or to what its ``hands_on`` lists, and whether it takes others as well.
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
    """Find the types of a class's or function's arguments, where it says."""
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
        except Exception:  # Types that are only there for a type checker.
            continue
        for name, hint in found.items():
            if (maker.__module__, name) not in _WRONG_HINTS:
                hints.setdefault(name, hint)
    return hints


def _list_forms(hint: Any) -> Set[str]:
    """List what a type can be in a config; empty if that is not known."""
    origin, parts = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin is typing.Union or type(hint).__name__ == 'UnionType':
        forms = [_list_forms(part) for part in parts]
        # What is given as a dict may be an object of any class, too.
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
        # Numbers often stand for lists of equal ones.
        if origin in _LISTS and parts and 'a dict' in _list_forms(parts[0]):
            return {'a list'}
    return set()


def find_mismatch(value: Any, hint: Any) -> Optional[str]:
    """Say what a setting must be, if it is a number or a text instead.

    Args:
        value (Any): The setting.
        hint (Any): The annotation of the argument that it is for.

    Returns:
        str, optional: What it must be. None if that is not certain.
    """
    forms = _list_forms(hint) - {'None'}
    if not forms or not isinstance(value, (int, float, str)):
        return None
    if isinstance(value, str):
        fits = 'a text' in forms
    else:
        fits = not forms <= {'a text', 'a dict', 'a list'}
    return None if fits else ' or '.join(sorted(forms))
