"""Find keys of a config that nothing reads."""
import inspect
import re
import sys
from argparse import ArgumentParser
from difflib import get_close_matches
from typing import Any, Dict, Iterator, List, Optional, Set, Tuple

from mmengine.config import Config, DictAction
from mmengine.optim import OptimWrapper
from mmengine.runner import (EpochBasedTrainLoop, FlexibleRunner,
                             IterBasedTrainLoop, LogProcessor, Runner,
                             TestLoop, ValLoop)
from torch.utils.data import DataLoader

from .config_arguments import (find_class, find_hints, find_mismatch,
                               list_arguments, list_registries)
from .paramwise_keys import find_wrong_keys

# Similarity from which a key is probably another key with a typing error.
SIMILAR = 0.8
# Keys that MMEngine reads in addition to the arguments of its runners.
TOP_LEVEL = {
    'activation_checkpointing', 'compile', 'custom_imports',
    'efficient_conv_bn_eval', 'find_unused_parameters',
    'init_weights_for_test_or_val', 'model_wrapper_cfg', 'runner_type',
    'sync_bn', 'tta_model'
}
# Keys that are removed from a config before a class gets the others.
TAKEN_OUT = {
    'dataset', 'sampler', 'batch_sampler', 'collate_fn', 'worker_init_fn',
    'num_batch_per_epoch', 'disable_subprocess_warning'
}, {'optimizer', 'constructor', 'paramwise_cfg'}, {'by_epoch'}
# Keys of `model.backbone` in version 1, and their new names.
RENAMED = dict(
    form='temporal',
    alignment='temporal',
    temporal_layers='layers',
    freeze_clip='freeze_image',
    image_backbone='image')
# Dicts that MMEngine reads itself.
PLAIN = dict(
    default_hooks={
        'runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler',
        'checkpoint', 'sync_buffers', 'visualization'
    },
    auto_scale_lr={'enable', 'base_batch_size'},
    env_cfg={'cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'})
ANYWHERE = {'type', '_scope_', '_delete_', 'priority', 'convert_to_iter_based'}


def _list_known(path: str, node: dict) -> Tuple[Set[str], bool]:
    """List the keys that a dict of a config may have.

    Args:
        path (str): Path of the dict in the config.
        node (dict): The dict, with all settings.

    Returns:
        tuple: The keys, and whether other keys may be right.
    """
    loader, wrapper, loop = TAKEN_OUT
    kinds, more = [node.get('type')], set()
    if path in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        kinds, more = [DataLoader], loader
    elif path == 'optim_wrapper':
        kinds, more = [node.get('type', OptimWrapper)], wrapper
    elif path == 'train_cfg':
        kinds = [node.get('type')] if 'type' in node else [
            EpochBasedTrainLoop, IterBasedTrainLoop
        ]
        more = loop
    elif path in ('val_cfg', 'test_cfg'):
        default = ValLoop if path == 'val_cfg' else TestLoop
        kinds = [node.get('type', default)]
    elif path == 'log_processor':
        kinds = [node.get('type', LogProcessor)]
    elif path == 'randomness':
        kinds = [Runner.set_randomness]
    elif path in PLAIN:
        return PLAIN[path], path == 'default_hooks'
    known, open_ended = set(more), False
    for kind in kinds:
        found = None if kind is None else find_class(kind)
        if found is None:  # A plain dict, or a wrong type, reported later.
            return set(), True
        names, others = list_arguments(found)
        known |= names
        open_ended |= others
    return known | ANYWHERE, open_ended


def _find_problem(before: Any, after: Any, key: str,
                  top_level: Set[str]) -> Optional[str]:
    """Look for a part of a key that is unknown.

    Args:
        before (dict): The config without the setting.
        after (dict): The config with it.
        key (str): The key.
        top_level (set[str]): Keys that the config itself may have.

    Returns:
        str, optional: What is wrong, and how to fix it.
    """
    parts, path = key.split('.'), ''
    own = before.get(key)
    if own is not None and key not in top_level and not isinstance(own, dict):
        return (f"'{key}': only the config file itself reads this variable; "
                'override the settings that it is used for')
    for part in parts:
        if not isinstance(after, (dict, list, tuple)):
            return None  # Another setting has replaced it.
        if isinstance(before, (list, tuple)):
            if not part.isdigit() or int(part) >= len(before):
                return (
                    f"'{key}': `{path}` is a list of {len(before)}; choose "
                    'a number below that')
            before, after = before[int(part)], after[int(part)]
        elif isinstance(before, dict) and part in before and part in after:
            before, after = before[part], after[part]
        elif isinstance(before, dict):
            known, open_ended = top_level, False
            if path:
                known, open_ended = _list_known(path, after)
            if part not in after:
                return None  # Such as `_delete_`, which merging uses up.
            if part in known:
                before, after = dict(), after[part]
                path = f'{path}.{part}' if path else part
                continue
            nearest = get_close_matches(part, sorted(known | set(before)), 1,
                                        SIMILAR if open_ended else 0)
            if path == 'model.backbone' and RENAMED.get(part) in known:
                nearest = [RENAMED[part]]
            if open_ended and not nearest:
                return None
            place = f'`{path}`' if path else 'the config'
            return (f"'{key}': {place} has no key '{part}'; did you mean "
                    f"'{nearest[0]}'?")
        else:
            return None
        path = f'{path}.{part}' if path else part
    return None


def _find_unknown(path: str, node: Any) -> Iterator[str]:
    """Describe unknown types and keys within a part of a config."""
    if isinstance(node, (list, tuple)):
        for index, part in enumerate(node):
            yield from _find_unknown(f'{path}.{index}', part)
    if not isinstance(node, dict):
        return
    kind = node.get('type')
    if isinstance(kind, str) and find_class(kind) is None:
        names = {
            name
            for candidate in list_registries()
            for name in candidate.module_dict
        }
        nearest = [name for name in names if name.lower() == kind.lower()]
        nearest = nearest or get_close_matches(kind, sorted(names), 1)
        fix = f"did you mean '{nearest[0]}'?" if nearest else 'fix its name'
        yield f"`{path}.type`: there is no '{kind}'; {fix}"
        return
    if not (kind is None or isinstance(kind, str) or callable(kind)):
        yield f'`{path}.type` must be the name of a class, got {kind!r}'
        return
    known, open_ended = _list_known(path, node)
    hints = find_hints(find_class(kind)) if kind else dict()
    for key, part in node.items():
        expected = find_mismatch(part, hints.get(key, Any))
        if expected:
            yield f'`{path}.{key}` must be {expected}, got {part!r}'
        nearest = get_close_matches(str(key), sorted(known), 1, SIMILAR)
        if key not in known and nearest:
            yield (f"`{path}` has no key '{key}'; did you mean "
                   f"'{nearest[0]}'?")
        elif key not in known and not open_ended:
            yield (f"`{path}` has no key '{key}'; remove it, or replace an "
                   'inherited dict with `_delete_=True`')
        yield from _find_unknown(f'{path}.{key}', part)


def _find_all_unknown(cfg: Config, top_level: Set[str]) -> List[str]:
    """Describe the problems in everything that a runner reads."""
    problems, hints = [], find_hints(Runner)
    for key in filter(top_level.__contains__, cfg):
        value = cfg._cfg_dict[key]
        expected = find_mismatch(value, hints.get(key, Any))
        if expected:
            problems.append(f'`{key}` must be {expected}, got {value!r}')
        problems += _find_unknown(key, value)
    problems += find_wrong_keys(cfg._cfg_dict.get('optim_wrapper'))
    return problems


def check_keys(cfg: Config, options: Optional[dict]) -> None:
    """Exit if a config, or a setting, has a key that nothing reads.

    A config may have variables of its own. So at the top level, only keys that
    are similar to one of the runner's keys are refused; within the runner's
    keys, those that the class of a ``type`` does not accept. Settings must
    name a key of the config, or an argument of the class that they are for.

    Args:
        cfg (Config): The config, as in its file.
        options (dict, optional): Settings from ``--cfg-options``.
    """
    top_level = TOP_LEVEL.union(*(inspect.signature(runner).parameters
                                  for runner in (Runner, FlexibleRunner)))
    problems = []
    for key in cfg:
        nearest = get_close_matches(key, top_level, 1, SIMILAR)
        # A lazy config has all that it imports.
        is_import = callable(cfg[key]) or inspect.ismodule(cfg[key])
        if nearest and key not in top_level and not is_import:
            problems.append(f"{cfg.filename}: nothing reads the key '{key}'; "
                            f"did you mean '{nearest[0]}'?")
    of_file = _find_all_unknown(cfg, top_level)
    problems += [f'{cfg.filename}: {problem}' for problem in of_file]
    if options:
        after = cfg.copy()
        merge_options(after, options)
        of_options = [
            _find_problem(cfg._cfg_dict, after._cfg_dict, key, top_level)
            for key in options
        ]
        of_options = [*filter(None, of_options)] or [
            problem for problem in _find_all_unknown(after, top_level)
            if problem not in of_file
        ]
        problems += [f'--cfg-options {problem}' for problem in of_options]
    if problems:
        sys.exit('\n'.join(problems) + '\nPlease correct the key, or add '
                 '--allow-new-keys if it is meant so')


def check_needed(path: str, cfg: Config, *needed: str) -> None:
    """Exit if a config lacks one of these keys."""
    for key in needed:
        if not cfg.get(key):
            sys.exit(f'{path} has no `{key}`. Please add it')


def parse_options(settings: Optional[List[str]]) -> Optional[Dict[str, Any]]:
    """Parse the values of ``--cfg-options`` as MMEngine does.

    Args:
        settings (list[str], optional): As ``key=value``.

    Returns:
        dict, optional: Values by key; None without settings.
    """
    if settings is None:
        return None
    for setting in settings:
        key, _, value = setting.partition('=')
        if re.match(r'dict\(|\{.*\}$', value):
            sys.exit(
                f"--cfg-options '{key}': a dict cannot be given here; set "
                f'its keys one by one, such as {key}.KEY=VALUE, or write '
                'it into a config file')
    parser = ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    try:
        return parser.parse_args(['--cfg-options', *settings]).cfg_options
    except AssertionError as error:  # brackets
        sys.exit(f'--cfg-options: {error}')


def merge_options(cfg: Config, options: dict) -> None:
    """Override settings of a config; exit if that is impossible."""
    try:
        cfg.merge_from_dict(options)
    except (KeyError, TypeError) as error:
        sys.exit(f'--cfg-options: {error.args[0]}')
    except AttributeError:  # An item of a list, old or new, is not a dict.
        keys = [key for key in options if re.search(r'\.\d+(\.|$)', key)]
        sys.exit('--cfg-options: only items that are dicts can be set one by '
                 f"one in a list; set all of it, not {', '.join(keys)}")
