"""Configs as plain data, to read models of others without running code."""
import inspect
import json
import os
from typing import Any, Iterator

from mmengine.config import Config
from mmengine.utils import get_object_from_string
from torch import nn

from mmaction import registry
from .config_datasets import find_dataset

SPLITS = 'val_dataloader', 'test_dataloader'
# Keys that decide how a video is read.
READING = 'pipeline', 'filename_tmpl'
# Keys for the location of initial weights, and for access to videos: one of
# MMEngine's storage backends imports a module from a given folder.
PLACES = ('init_cfg', 'pretrained', 'pretrained_cfg_overlay', 'io_backend',
          'backend_args', 'file_client_args')
# Keys that may name a file in a config, which is read when a model is saved.
LISTS = 'class_names', 'templates'
# Allowed classes of a config. Others could run any code, or load files.
TRUSTED = ('projects.ila.', 'mmaction.datasets.transforms.',
           'mmaction.models.common.', 'mmaction.models.data_preprocessors.',
           'mmaction.models.heads.', 'mmaction.models.losses.',
           'mmaction.models.necks.', 'mmaction.models.utils.', 'mmcv.',
           'mmengine.', 'mmpretrain.models.backbones.vision_transformer',
           'mmpretrain.models.backbones.vit_eva02', 'mmpretrain.models.utils.',
           'torch.nn.')
MAX_DEPTH = 32  # Configs of this project have a depth of 8.


def make_plain(value: Any) -> Any:
    """Turn a part of a config into types of JSON.

    Raises:
        ValueError: It contains other types, such as a class.
    """
    if isinstance(value, dict):
        return {str(key): make_plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [make_plain(part) for part in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ValueError(f'the config holds {value!r}, which JSON cannot; write '
                     'numbers, and classes by their names')


def _leave_out_places(node: Any, depth: int = 0) -> Any:
    if depth > MAX_DEPTH:
        raise ValueError(f'it is nested more than {MAX_DEPTH} times; make it '
                         'flatter')
    if isinstance(node, list):
        return [_leave_out_places(part, depth + 1) for part in node]
    if not isinstance(node, dict):
        return node
    return {
        key: _leave_out_places(part, depth + 1)
        for key, part in node.items() if key not in PLACES
    }


def select_shared(model: dict, cfg: dict) -> dict:
    """Select the parts of a config that others need to run a model.

    Locations of files of the training are left out.

    Args:
        model (dict): Config of the model.
        cfg (dict): Config with validation and test pipelines, which may be
            missing.

    Returns:
        dict: Plain data, see :func:`read_config`.

    Raises:
        ValueError: A part could not be read again.
    """
    shared = dict(model=make_plain(model))
    for split in SPLITS:
        dataset = find_dataset(cfg, split.removesuffix('_dataloader'))
        dataset = {key: dataset[key] for key in READING if key in dataset}
        if dataset:
            shared[split] = dict(dataset=make_plain(dataset))
    shared = _leave_out_places(shared)
    _check_parts(shared)
    return shared


def _find(kind: str) -> Any:
    """Find a registered class; unlike registries, import no other module."""
    scope, _, name = kind.rpartition('.')
    for own in (registry.MODELS, registry.TRANSFORMS):
        root = own.parent
        places = [own, root]
        if scope:
            others = (own, root, *root.children.values())
            places = [place for place in others if place.scope == scope]
        for place in places:
            place.import_from_location()
            if name in place.module_dict:
                return place.module_dict[name]
    found = None
    if kind.startswith('projects.ila.'):
        found = get_object_from_string(kind)
    is_module = inspect.isclass(found) and issubclass(found, nn.Module)
    return found if is_module else None


def _is_trusted(kind: Any) -> bool:
    found = _find(kind) if isinstance(kind, str) else None
    module = getattr(found, '__module__', None) or ''
    # A function of another package may load models of any kind.
    return module.startswith(TRUSTED if inspect.isclass(found) else TRUSTED[0])


def _find_dicts(node: Any) -> Iterator[dict]:
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    for part in node if isinstance(node, list) else []:
        yield from _find_dicts(part)


def _check_parts(shared: Any) -> None:
    for node in _find_dicts(shared):
        if 'type' in node and not _is_trusted(node['type']):
            raise ValueError(
                f"`type` {node['type']!r} is not part of a model or pipeline "
                'of ILA, MMAction2, MMCV or mmpretrain; use the name of one')
        if '_scope_' in node:
            raise ValueError('`_scope_` cannot be shared; remove it')
        for key in LISTS:
            if isinstance(node.get(key), str):
                raise ValueError(f'`{key}` is {node[key]!r}, which may be a '
                                 'file; write out what it stands for')


def _with_tuples(node: Any) -> Any:
    """Turn lists of numbers into tuples, which transforms need for sizes."""
    if isinstance(node, dict):
        return {key: _with_tuples(part) for key, part in node.items()}
    if not isinstance(node, list):
        return node
    if node and all(isinstance(part, (int, float)) for part in node):
        return tuple(node)
    return [_with_tuples(part) for part in node]


def read_config(path: str) -> Config:
    """Read the config of a shared model, without running code.

    Args:
        path (str): A JSON file with ``model``, and with ``dataset.pipeline``
            in ``val_dataloader`` and ``test_dataloader``. Other keys are
            ignored.

    Raises:
        ValueError: It is not such a file, or names something that is not part
            of a model or pipeline.
    """
    if not os.path.isfile(path):
        raise ValueError(f"'{path}' does not exist; give the folder of a "
                         'model that `save_pretrained` wrote')
    try:
        with open(path, encoding='utf-8') as file:
            content = json.load(file)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"'{path}' is not a JSON file ({error}); download or "
                         'save it again') from None
    if not isinstance(content, dict) or not isinstance(
            content.get('model'), dict):
        raise ValueError(f"'{path}' has no `model`, so it is not of an ILA "
                         'model; give the folder of one')
    try:
        datasets = {
            split: {
                key: content[split]['dataset'][key]
                for key in READING if key in content[split]['dataset']
            }
            for split in filter(content.get, SPLITS)
        }
        steps = [step for x in datasets.values() for step in x['pipeline']]
        if not all(isinstance(x, dict) and 'type' in x for x in steps):
            raise TypeError
    except (KeyError, TypeError):
        raise ValueError(
            f"'{path}': a dataloader has no `dataset` with a `pipeline`, or "
            'that is no list of transforms; download or save it again'
        ) from None
    try:
        model, datasets = _leave_out_places([content['model'], datasets])
        _check_parts([model, datasets])
    except ValueError as error:
        raise ValueError(f"'{path}': {error}") from None
    shared = {
        split: dict(dataset=_with_tuples(dataset))
        for split, dataset in datasets.items()
    }
    return Config(dict(model=model, **shared), filename=path)
