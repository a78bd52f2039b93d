"""What the tools share."""
import gc
import re
import runpy
import sys
from argparse import ArgumentParser, Namespace
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Dict, Iterator, Optional, Sequence

# This repository's `projects`, whatever the working directory is.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch  # noqa: E402
from config_keys import FLAG, check_keys, merge_options  # noqa: E402
from mmengine.config import Config, DictAction  # noqa: E402
from mmengine.device import get_device  # noqa: E402
from mmengine.hooks import Hook  # noqa: E402
from mmengine.registry import init_default_scope  # noqa: E402
from mmengine.runner import Runner  # noqa: E402

import mmaction  # noqa: E402
import projects.ila  # noqa: E402,F401
from mmaction.registry import RUNNERS  # noqa: E402
from projects.ila.engine.num_classes import set_num_classes  # noqa: E402
from projects.ila.models.heads import ILAHead  # noqa: E402
from projects.ila.utils import check_output_folder  # noqa: E402
from projects.ila.utils import check_output, unwrap_model  # noqa: E402


def load_mmaction_tool(name: str) -> Dict[str, Any]:
    """Load one of MMAction2's own tools without running it.

    Args:
        name (str): File name in MMAction2's ``tools/``.

    Returns:
        dict: The functions of the tool by name.
    """
    package = Path(mmaction.__file__).parent
    # A release ships its tools in `.mim`, a clone has them beside the package.
    for folder in (package / '.mim' / 'tools', package.parent / 'tools'):
        if (folder / name).is_file():
            return runpy.run_path(str(folder / name))
    sys.exit(f'MMAction2 in {package} has no tools/{name}. Please install it '
             'again: pip install --force-reinstall --no-deps mmaction2')


def parse_mmaction_args(tool: Dict[str, Any]) -> Namespace:
    """Parse the arguments of one of MMAction2's tools, and our own flag.

    Args:
        tool (dict): What :func:`load_mmaction_tool` returns.
    """
    arguments = sys.argv
    sys.argv = [word for word in arguments if word != FLAG]
    try:
        args = tool['parse_args']()
    finally:
        sys.argv = arguments
    args.allow_new_keys = FLAG in arguments
    return args


def load_config(args: Namespace) -> Config:
    """Load a config, with ILA registered whatever its custom imports are.

    Args:
        args (Namespace): With the config's path, the settings that are to
            override it, which are only checked, and whether new keys are
            allowed.
    """
    check_file(args.config, 'Config')
    try:
        cfg = Config.fromfile(args.config)
    except FileNotFoundError as error:
        sys.exit(f'{args.config}: {error}')
    if not args.allow_new_keys:
        check_keys(cfg, args.cfg_options)
    return cfg


def add_config_arguments(parser: ArgumentParser, help: str) -> None:
    """Let a tool take a config and settings that override it.

    Args:
        parser (ArgumentParser): The tool's parser.
        help (str): What the config is of.
    """
    parser.add_argument('config', help=help)
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config, as key=value')
    parser.add_argument(
        FLAG,
        action='store_true',
        help='let keys pass that nothing is known to read')


def load_overridden_config(args: Namespace) -> Config:
    """Load what :func:`add_config_arguments` took, and enter its scope."""
    cfg = load_config(args)
    if args.cfg_options:
        merge_options(cfg, args.cfg_options)
    init_default_scope(cfg.get('default_scope', 'mmaction'))
    return cfg


def merge_args(tool: Dict[str, Any], cfg: Config, args: Namespace) -> Config:
    """Merge the command line into the config.

    Args:
        tool (dict): What :func:`load_mmaction_tool` returns.
        cfg (Config): The config.
        args (Namespace): What the tool's ``parse_args`` returns.
    """
    try:
        return tool['merge_args'](cfg, args)
    except AssertionError as error:
        sys.exit(f'{args.config}: {error}')


def check_file(path: str, kind: str) -> None:
    """Exit if a local file is missing."""
    if '://' not in path and not Path(path).expanduser().is_file():
        sys.exit(f'{kind} file not found: {path}. Please check its path, '
                 f'which is taken from {Path.cwd()}')


def check_outputs(*paths: Optional[str],
                  suffixes: Sequence[str] = (),
                  folder: Optional[str] = None) -> None:
    """Exit before some work if its results could not be written.

    Args:
        *paths (str | None): Files; None is one that is not wanted.
        suffixes (Sequence[str]): Allowed endings. Defaults to any.
        folder (str, optional): A folder that is going to get files.
    """
    with exit_on_bad_input():
        for path in filter(None, paths):
            check_output(path, suffixes)
        if folder:
            check_output_folder(folder)


@contextmanager
def exit_on_bad_input() -> Iterator[None]:
    """Exit with an error's message alone, which says what to fix."""
    try:
        yield
    except (OSError, ValueError) as error:
        sys.exit(str(error))


class _BeginHook(Hook):
    """Notes that a run has begun to read data."""
    begun = False

    def before_train_epoch(self, runner: Runner) -> None:
        self.begun = True

    before_test_epoch = before_train_epoch


@contextmanager
def exit_on_bad_start(runner: Runner) -> Iterator[None]:
    """Exit with an error's message alone if a run does not begin.

    Until then its config and the files that this names are read. Later errors
    are not expected, and keep their traceback.

    Args:
        runner (Runner): The runner.
    """
    hook = _BeginHook()
    runner.register_hook(hook)
    try:
        yield
    except (BlockingIOError, FileNotFoundError, ValueError) as error:
        if hook.begun:
            raise
        blocked = isinstance(error, BlockingIOError)
        sys.exit(error.strerror if blocked else str(error))


def check_num_classes(cfg: Config, runner: Runner, *splits: str) -> None:
    """Let data sets check labels; exit if their classes are not the model's.
    """
    model = unwrap_model(runner.model)
    num_classes = getattr(
        getattr(model, 'cls_head', None), 'num_classes', None)
    for split in splits:
        set_num_classes(
            getattr(runner, f'_{split}_dataloader', None), num_classes)
        dataset = (cfg.get(f'{split}_dataloader') or {}).get('dataset', {})
        if dataset.get('num_classes', num_classes) != num_classes:
            sys.exit(f'`{split}_dataloader.dataset.num_classes` is '
                     f'{dataset.num_classes}, but `model.cls_head` has '
                     f'{num_classes} classes; mend one of them')
        head = getattr(model, 'cls_head', None)
        if dataset.get('multi_class') and isinstance(
                head, ILAHead) and not head.multi_class:
            sys.exit(f'`{split}_dataloader.dataset.multi_class` is True, but '
                     '`model.cls_head` is for one label per video; give it '
                     '`multi_class=True`')


def build_runner(cfg: Config) -> Runner:
    """Build the runner for the devices that this machine has."""
    if 'strategy' in cfg:
        prepare_for_strategy(cfg)
    if get_device() == 'cpu':
        prepare_for_cpu(cfg)
    try:
        if 'runner_type' in cfg:
            return RUNNERS.build(cfg)
        return Runner.from_cfg(cfg)
    except TypeError as error:
        if re.search('unexpected keyword argument|has no argument',
                     str(error)):
            sys.exit(f'{cfg.filename}: {error}')
        raise


def prepare_for_strategy(cfg: Config) -> None:
    """Let a sharded model start from any file of weights.

    MMEngine would load it into the shards, whose names and sizes differ.
    """
    if 'DeepSpeed' in cfg.strategy.type and not find_spec('deepspeed'):
        sys.exit('this config needs DeepSpeed. Please install it: '
                 'pip install deepspeed')
    hooks = cfg.get('custom_hooks') or []
    if any(hook['type'] == 'EMAHook' for hook in hooks):
        sys.exit('EMAHook can not average a sharded model. Please leave it '
                 'out, or `strategy` and `runner_type`')
    if cfg.get('load_from') and not cfg.get('resume'):
        cfg.model.init_cfg = dict(type='Pretrained', checkpoint=cfg.load_from)
        cfg.load_from = None


def prepare_for_cpu(cfg: Config) -> None:
    """Let the processes of a distributed run work without GPUs.

    MMEngine would select a GPU for each of them and wrap the model for it.
    """
    cfg.merge_from_dict({'env_cfg.dist_cfg.backend': 'gloo'})
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


def leave_process_group() -> None:
    """End a distributed run while Python is still there to do so.

    Gloo's threads may hold the last tensors for a while. One that releases
    them when the interpreter is already going aborts the process.
    """
    if not torch.distributed.is_initialized():
        return
    gc.collect()  # The runner is a cycle, and its model holds the group.
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
