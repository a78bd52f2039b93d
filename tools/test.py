"""Test a recognizer, with the arguments of MMAction2's ``tools/test.py``.

Beside them it takes ``--allow-new-keys``, see ``config_keys.py``.
"""
from pathlib import Path

from cli import (build_runner, check_file, check_num_classes, check_outputs,
                 exit_on_bad_input, exit_on_bad_start, keep_predictions,
                 leave_process_group, load_config, load_mmaction_tool,
                 merge_args, parse_mmaction_args)
from config_keys import merge_options
from mmengine.config import Config
from mmengine.hooks import EMAHook
from mmengine.runner import Runner

from mmaction.registry import HOOKS, MODELS
from projects.ila.apis import fit_config
from projects.ila.utils import unwrap_model
from projects.ila.weights import check_all_weights


def load_all_weights(runner: Runner, path: str) -> None:
    """Load a checkpoint and refuse it if an ILA model needs another one.

    An ILA model is made ready for inference.

    Raises:
        ValueError: It does not hold exactly the weights of the model.
    """
    checkpoint = runner.load_checkpoint(path)
    model = unwrap_model(runner.model)
    if not isinstance(model, MODELS.get('ILARecognizer')):
        return
    check_all_weights(model, checkpoint, path)
    model.switch_to_deploy()


def leave_out_averaging(cfg: Config) -> None:
    """Leave ``EMAHook`` out of a config.

    Its checkpoints have the averaged weights in the place of the others, so
    that a test gets them without it. It could not swap folded ones.
    """

    def averages(hook: dict) -> bool:
        kind = hook['type']
        kind = HOOKS.get(kind) if isinstance(kind, str) else kind
        return isinstance(kind, type) and issubclass(kind, EMAHook)

    cfg.custom_hooks = [
        hook for hook in cfg.get('custom_hooks') or [] if not averages(hook)
    ]


def main() -> None:
    tool = load_mmaction_tool('test.py')
    args = parse_mmaction_args(tool)
    if args.dump:
        check_outputs(args.dump, suffixes=('.pkl', '.pickle'))
    cfg = load_config(args)
    if Path(args.checkpoint).is_dir():  # As DeepSpeed writes them.
        args.checkpoint = str(Path(args.checkpoint, 'weights.pth'))
    check_file(args.checkpoint, 'Checkpoint')

    cfg = merge_args(tool, cfg, args)
    cfg.launcher = args.launcher
    if args.cfg_options is not None:
        merge_options(cfg, args.cfg_options)
    default_work_dir = Path('work_dirs', Path(args.config).stem)
    cfg.work_dir = args.work_dir or cfg.get('work_dir', str(default_work_dir))
    check_outputs(folder=cfg.work_dir)

    for key in ('strategy', 'runner_type'):
        cfg.pop(key, None)  # A test shards nothing.
    leave_out_averaging(cfg)

    with exit_on_bad_input():
        cfg.model = fit_config(cfg.model, args.checkpoint)
    runner = build_runner(cfg)
    check_num_classes(cfg, runner, 'test')
    with exit_on_bad_input():
        load_all_weights(runner, args.checkpoint)
    with exit_on_bad_start(runner), keep_predictions(runner, args.dump):
        runner.test()
    del runner
    leave_process_group()


if __name__ == '__main__':
    main()
