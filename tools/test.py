"""Test a recognizer, with the arguments of MMAction2's ``tools/test.py``."""
from pathlib import Path

from cli import (build_runner, check_file, check_num_classes, check_outputs,
                 exit_on_bad_input, leave_process_group, load_config,
                 load_mmaction_tool, merge_args)
from mmengine.runner import Runner

from mmaction.registry import MODELS
from projects.ila.utils import check_all_weights, unwrap_model


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
    model.backbone.switch_to_deploy()


def main() -> None:
    tool = load_mmaction_tool('test.py')
    args = tool['parse_args']()
    if args.dump:
        check_outputs(args.dump, suffixes=('.pkl', '.pickle'))
    cfg = load_config(args.config)
    if Path(args.checkpoint).is_dir():  # As DeepSpeed writes them.
        args.checkpoint = str(Path(args.checkpoint, 'weights.pth'))
    check_file(args.checkpoint, 'Checkpoint')

    cfg = merge_args(tool, cfg, args)
    cfg.launcher = args.launcher
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    default_work_dir = Path('work_dirs', Path(args.config).stem)
    cfg.work_dir = args.work_dir or cfg.get('work_dir', str(default_work_dir))
    check_outputs(folder=cfg.work_dir)

    for key in ('strategy', 'runner_type'):
        cfg.pop(key, None)  # A test shards nothing.

    runner = build_runner(cfg)
    check_num_classes(cfg, runner, 'test')
    with exit_on_bad_input():
        load_all_weights(runner, args.checkpoint)
    runner.test()
    del runner
    leave_process_group()


if __name__ == '__main__':
    main()
