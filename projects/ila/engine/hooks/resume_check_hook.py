import ast
import re
from typing import Any, Dict, Optional

from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmaction.registry import HOOKS
from ...utils import is_sharded_model, unwrap_model
from ...utils.config_arguments import find_class
from ..resumed_progress import has_other_epochs

# Parts of the config that determine a training.
COMPARED = ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper',
            'param_scheduler', 'auto_scale_lr', 'custom_hooks', 'randomness')
# Settings that only affect speed or memory.
IGNORED = ('.num_workers', '.persistent_workers', '.pin_memory',
           '.prefetch_factor', '.with_cp', 'model.compile')
# Settings that the states of optimizer and schedulers contain.
RESUMED = ('optim_wrapper.optimizer', 'optim_wrapper.paramwise_cfg',
           'optim_wrapper.constructor', 'param_scheduler', 'auto_scale_lr',
           'randomness.seed')
# Classes whose states fit no other class.
KINDS = re.compile(r'optim_wrapper\.optimizer\.type|param_scheduler\b.*\.type')
CLASSES = 'number of classes'
BEGIN = 'begin another run from its weights: `load_from`, without --resume'


@HOOKS.register_module()
class ResumeCheckHook(Hook):
    """Report how a resumed run's config differs from its original config.

    For each setting that differs, the log says whether the value of the
    checkpoint or of the current config is used. Refused are another number of
    classes, another type of optimizer or schedule, other trained parameters,
    and checkpoints without the states of optimizer and schedules.
    """

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Record settings that the config does not contain."""
        checkpoint['meta']['ila_run'] = _measure(runner)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare the configs if the run is resumed.

        Raises:
            ValueError: The run cannot be resumed from the checkpoint.
        """
        if not runner._resume:
            return
        states = ['optimizer']
        if runner.param_schedulers:
            states.append('param_schedulers')
        if not all(state in checkpoint for state in states):
            raise ValueError(
                'the checkpoint holds weights without the state of optimizer '
                'and schedules, as best_*.pth does; resume from another one, '
                f'or {BEGIN}')
        _check_groups(runner, checkpoint['optimizer'])
        meta = checkpoint.get('meta') or dict()
        before = parse_config(meta.get('cfg', ''))
        if before is None:
            return
        # As it would be read from a checkpoint.
        now = parse_config(runner.cfg.pretty_text) or dict()
        old, new = _flatten(before), _flatten(now)
        old.update(meta.get('ila_run', dict()))
        new.update((name, value) for name, value in _measure(runner).items()
                   if name in old)
        # Text heads lack the key, and older checkpoints the recorded number.
        for name in (CLASSES, 'model.cls_head.num_classes'):
            counts = old.get(name), new.get(name)
            if None not in counts and counts[0] != counts[1]:
                raise ValueError(
                    f'the checkpoint is of a run with {counts[0]} classes and '
                    f'cannot be resumed with {counts[1]}; give '
                    f'`model.cls_head` those of the former, or {BEGIN}')
        for name in filter(KINDS.fullmatch, dict.fromkeys([*old, *new])):
            kinds = find_class(old.get(name)), find_class(new.get(name))
            if None in kinds or kinds[0] is not kinds[1]:
                raise ValueError(
                    f'`{name}` was {_show(old, name)} and is '
                    f'{_show(new, name)}, which cannot take over its state; '
                    f'set what it was, or {BEGIN}')
        resumed = RESUMED
        if has_other_epochs(runner, checkpoint):
            resumed = ('randomness.seed', )
        lines = [
            f'{name}: {_show(old, name)} before, {_show(new, name)} now; '
            f'{"the former" if name.startswith(resumed) else "the latter"} '
            'holds' for name in dict.fromkeys([*old, *new])
            if _show(old, name) != _show(new, name)
        ]
        if lines:
            runner.logger.warning(
                'This config differs from the one that the resumed run was '
                'begun with:\n  ' + '\n  '.join(lines) +
                '\nTo train with all of its settings, begin another run from '
                'the weights: `load_from`, without --resume.')


def _check_groups(runner: Runner, optimizer: dict) -> None:
    """Refuse the state of an optimizer of other parameters."""
    # A wrapper of several optimizers has no `optimizer`.
    current = getattr(runner.optim_wrapper, 'optimizer', None)
    if (current is None or is_sharded_model(runner.model)
            or 'param_groups' not in optimizer):
        return
    saved, own = ([len(group['params']) for group in groups]
                  for groups in (optimizer['param_groups'],
                                 current.param_groups))
    if saved != own:
        raise ValueError(
            f'the checkpoint is of a run that trained {sum(saved)} parameters '
            f'in {len(saved)} groups, this config trains {sum(own)} in '
            f'{len(own)}; set `model.backbone`, such as `freeze_image`, and '
            f'`optim_wrapper.paramwise_cfg` as they were, or {BEGIN}')


def parse_config(text: str) -> Optional[dict]:
    """Read the config in a checkpoint without running it.

    Args:
        text (str): Python code that assigns plain values to names.

    Returns:
        dict, optional: The values by name. None for any other text.
    """

    def read(node: ast.AST) -> Any:
        if (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
                and node.func.id == 'dict'):
            values = [read(argument) for argument in node.args]
            named = {word.arg: read(word.value) for word in node.keywords}
            return dict(*values, **named)
        if isinstance(node, ast.Dict):
            return {
                read(key): read(value)
                for key, value in zip(node.keys, node.values)
            }
        if isinstance(node, (ast.List, ast.Tuple)):
            return [read(item) for item in node.elts]
        return ast.literal_eval(node)

    try:
        return {
            statement.targets[0].id: read(statement.value)
            for statement in ast.parse(text).body
        }
    except (AttributeError, SyntaxError, TypeError, ValueError, RecursionError,
            MemoryError):
        return None


def _measure(runner: Runner) -> Dict[str, int]:
    """Get settings that the config does not contain."""
    found = {
        'number of training videos': len(runner.train_dataloader.dataset),
        'number of processes': get_world_size()
    }
    head = getattr(unwrap_model(runner.model), 'cls_head', None)
    if hasattr(head, 'num_classes'):
        found[CLASSES] = head.num_classes
    return found


def _flatten(cfg: dict) -> Dict[str, Any]:
    """Flatten the compared parts of a config to single values by name."""
    flat = dict()

    def visit(name: str, value: Any) -> None:
        if name.endswith(IGNORED):
            return
        if isinstance(value, dict) and value:
            for key, part in value.items():
                visit(f'{name}.{key}', part)
        elif isinstance(value, list) and any(
                isinstance(part, dict) for part in value):
            for index, part in enumerate(value):
                visit(f'{name}.{index}', part)
        else:
            flat[name] = value

    hooks = cfg.get('custom_hooks') or []
    if all(isinstance(hook, dict) for hook in hooks):
        # By type, since one more hook changes the positions of others.
        cfg = {
            **cfg, 'custom_hooks': {
                hook.get('type'): hook
                for hook in hooks
            }
        }
    for name in COMPARED:
        visit(name, cfg.get(name))
    return flat


def _show(flat: Dict[str, Any], name: str) -> str:
    return repr(flat[name]) if name in flat else 'not set'
