"""Shared code of command line tools: loading configs, building runners."""
import runpy
import sys
from argparse import Namespace
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Dict, Iterator, Optional

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.evaluator import DumpResults
from mmengine.fileio import dump
from mmengine.hooks import CheckpointHook, EMAHook, Hook
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.runner.checkpoint import load_state_dict

import mmaction
from mmaction.registry import RUNNERS
from .engine.console import QuietRunner, hide_details, summarize
from .models.recognizers import ILARecognizer
from .utils import explaining_builds, is_explained, unwrap_model
from .utils.config_arguments import find_class, find_name
from .utils.config_keys import (check_keys, check_needed, merge_options,
                                parse_options)
from .weights import convert_all_weights
from .weights.model_folder import load_any_config
from .weights.names import StateDict


def find_mmaction_tool(name: str) -> str:
    """Find one of MMAction2's own tools.

    Args:
        name (str): Path in MMAction2's ``tools/``.
    """
    package = Path(mmaction.__file__).parent
    # A release has its tools in `.mim`, a clone next to the package.
    for folder in (package / '.mim' / 'tools', package.parent / 'tools'):
        if (folder / name).is_file():
            return str(folder / name)
    sys.exit(f'MMAction2 in {package} has no tools/{name}. Check the name, or '
             'run pip install --force-reinstall --no-deps mmaction2')


def load_mmaction_tool(name: str) -> Dict[str, Any]:
    """Load the functions of one of MMAction2's own tools."""
    return runpy.run_path(find_mmaction_tool(name))


def load_config(args: Namespace) -> Config:
    """Load a config, and check its keys and those of the settings.

    Args:
        args (Namespace): Command line; its ``cfg_options`` become a dict.
    """
    with exit_on_bad_input():
        cfg = load_any_config(args.config)
    args.cfg_options = parse_options(args.cfg_options)
    level = (args.cfg_options or dict()).get('log_level')
    if (level or cfg.get('log_level')) != 'DEBUG':
        hide_details()
    if not args.allow_new_keys:
        check_keys(cfg, args.cfg_options)
    return cfg


def load_overridden_config(args: Namespace, *needed: str) -> Config:
    """Load a config with its settings merged, and enter its scope."""
    cfg = load_config(args)
    if args.cfg_options:
        merge_options(cfg, args.cfg_options)
    check_needed(args.config, cfg, *needed)
    init_default_scope(cfg.get('default_scope', 'mmaction'))
    return cfg


def merge_args(tool: Dict[str, Any], cfg: Config, args: Namespace) -> Config:
    """Merge the command line into the config, as in a tool of MMAction2.

    Args:
        tool (dict): From :func:`load_mmaction_tool`.
        cfg (Config): The config.
        args (Namespace): The command line.
    """
    try:
        return tool['merge_args'](cfg, args)
    except AssertionError as error:
        sys.exit(f'{args.config}: {error}')


@contextmanager
def exit_on_bad_input() -> Iterator[None]:
    """Exit with only the message of an error, which says what to fix."""
    try:
        yield
    except BlockingIOError as error:
        sys.exit(error.strerror)
    except (OSError, ValueError) as error:
        sys.exit(str(error))


@contextmanager
def exit_on_bad_config(cfg: Config) -> Iterator[None]:
    """Exit with one line if something cannot be built from a config.

    With ``log_level='DEBUG'`` the error keeps its traceback.
    """
    try:
        with explaining_builds():
            yield
    except (OSError, ValueError) as error:
        if cfg.get('log_level') == 'DEBUG':
            raise
        hint = ''
        if not is_explained(error.__cause__ or error):
            hint = ". Add log_level='DEBUG' to see where"
        sys.exit(f'{cfg.filename}: {error}{hint}')


class _BeginHook(Hook):
    """Record when all is built, and when the model has processed a batch."""
    built = passed = False
    priority = 'LOWEST'

    def before_train_epoch(self, runner: Runner) -> None:
        self.built = True

    before_test_epoch = before_train_epoch

    def after_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        self.passed = True

    after_test_iter = after_train_iter


@contextmanager
def exit_on_bad_start(runner: Runner) -> Iterator[None]:
    """Exit with only the message of an error if a run does not start.

    Before the first epoch, the parts of the config are built and read. In the
    first batch, input sizes may not fit the model, for which this project has
    its own errors. All other errors keep their traceback.
    """
    hook = _BeginHook()
    runner.register_hook(hook)
    try:
        yield
    except Exception as error:
        if hook.passed or hook.built and not is_explained(error):
            raise
        with exit_on_bad_input() if is_explained(
                error) else exit_on_bad_config(runner.cfg):
            raise


@contextmanager
def keep_predictions(runner: Runner, path: Optional[str]) -> Iterator[None]:
    """Keep the predictions of a test that ends early.

    MMEngine would only write them at the end. The file gets another name, so
    that it is not mistaken for the predictions of all videos.

    Args:
        runner (Runner): The runner of the test.
        path (str, optional): The file for the predictions of all videos.
    """
    try:
        yield
    except BaseException as error:
        metrics = runner.test_loop.evaluator.metrics if path else []
        for metric in metrics:
            if isinstance(metric, DumpResults) and metric.results:
                rank = torch.distributed.is_initialized(
                ) and torch.distributed.get_rank()
                part = Path(path)
                part = part.with_name(f'{part.stem}.partial{rank or ""}'
                                      f'{part.suffix}')
                dump(metric.results, str(part))
                print(
                    f'stopped early: the predictions of {len(metric.results)} '
                    f'videos are in {part}',
                    file=sys.stderr)
        if isinstance(error, KeyboardInterrupt):
            sys.exit(130)
        raise


def build_runner(cfg: Config) -> Runner:
    """Build the runner for the devices that this machine has."""
    if 'strategy' in cfg:
        prepare_for_strategy(cfg)
    if get_device() == 'cpu':
        prepare_for_cpu(cfg)
    with exit_on_bad_config(cfg):
        if 'runner_type' in cfg:
            runner = RUNNERS.build(cfg)
        else:
            runner = QuietRunner.from_cfg(cfg)
    summarize(runner)
    for hook in runner.hooks:
        # MMEngine accepts any argument, and fails at the first checkpoint.
        if isinstance(hook, CheckpointHook) and hook.args:
            sys.exit(f'{cfg.filename}: {type(hook).__name__} has no argument '
                     f"'{next(iter(hook.args))}'; fix it in "
                     '`default_hooks.checkpoint`')
    return runner


def _averages(hook: dict) -> bool:
    """Whether a config is for an ``EMAHook``."""
    kind = find_class(hook['type'])
    return isinstance(kind, type) and issubclass(kind, EMAHook)


def leave_out_averaging(cfg: Config) -> None:
    """Leave ``EMAHook`` out of the config of a test.

    Checkpoints hold averaged weights in place of the others, so a test gets
    them without the hook. The hook could not swap folded weights.
    """
    cfg.custom_hooks = [
        hook for hook in cfg.get('custom_hooks') or [] if not _averages(hook)
    ]


def load_all_weights(runner: Runner, weights: StateDict, path: str) -> None:
    """Load weights, and make an ILA model ready for inference.

    Args:
        runner (Runner): The runner, which then loads no other weights.
        weights (dict[str, Tensor]): The weights.
        path (str): File of the weights.

    Raises:
        ValueError: The weights do not match the ILA model exactly.
    """
    model = unwrap_model(runner.model)
    is_own = isinstance(model, ILARecognizer)
    if is_own:
        weights = convert_all_weights(model, weights, path)
    load_state_dict(model, weights, logger=runner.logger)
    if is_own:
        model.switch_to_deploy()
    runner._has_loaded = True
    runner.logger.info(f'Load checkpoint from {path}')


def prepare_for_strategy(cfg: Config) -> None:
    """Let a sharded model start from any weight file.

    MMEngine would load it into the shards, whose names and sizes differ.
    """
    uses_deepspeed = 'DeepSpeed' in find_name(cfg.strategy.type)
    if uses_deepspeed and not find_spec('deepspeed'):
        sys.exit('this config needs DeepSpeed. Please install it: '
                 'pip install deepspeed')
    sampler = (cfg.get('val_dataloader') or {}).get('sampler') or {}
    if not sampler.get('round_up', True):
        sys.exit('the processes of a sharded model need as many batches each; '
                 'remove `val_dataloader.sampler.round_up`')
    for hook in filter(_averages, cfg.get('custom_hooks') or []):
        if uses_deepspeed:
            sys.exit('EMAHook cannot average a model of DeepSpeed. Please '
                     'leave it out, or take `_base_/strategies/fsdp.py`')
        hook['type'] = 'ShardedEMAHook'
    if cfg.get('load_from') and not cfg.get('resume'):
        cfg.model.init_cfg = dict(type='Pretrained', checkpoint=cfg.load_from)
        cfg.load_from = None


def prepare_for_cpu(cfg: Config) -> None:
    """Let the processes of a distributed run work without GPUs.

    MMEngine would select a GPU for each process and wrap the model for it.
    Memory that is pinned for a GPU would cause a warning in every epoch.
    """
    cfg.merge_from_dict({'env_cfg.dist_cfg.backend': 'gloo'})
    for split in ('train', 'val', 'test'):
        loader = cfg.get(f'{split}_dataloader')
        if isinstance(loader, dict):
            loader.pop('pin_memory', None)
    if cfg.launcher == 'none':
        return
    if cfg.launcher != 'pytorch':
        sys.exit(f'--launcher {cfg.launcher} needs GPUs, and there are none. '
                 'Please use --launcher pytorch')
    wrapper = cfg.get('model_wrapper_cfg') or dict(
        type='MMDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False))
    cfg.model_wrapper_cfg = dict(wrapper, device_ids=None)
    torch.distributed.init_process_group('gloo')
