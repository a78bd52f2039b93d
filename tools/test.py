"""Test a recognizer, with the arguments of MMAction2's ``tools/test.py``."""
import sys
from pathlib import Path

from cli import (build_runner, check_checkpoint, leave_process_group,
                 load_config, load_mmaction_tool, merge_args)
from mmengine.model import is_model_wrapper
from torch import nn

from mmaction.registry import MODELS
from projects.ila.utils import check_weights


def check_fits(model: nn.Module, checkpoint: dict, path: str) -> None:
    """Exit if a checkpoint does not hold exactly an ILA model's weights."""
    if is_model_wrapper(model):
        model = model.module
    if not isinstance(model, MODELS.get('ILARecognizer')):
        return
    try:
        check_weights(model, checkpoint.get('state_dict', checkpoint), False)
    except ValueError as error:
        sys.exit(f'{path}: {error}')


def main() -> None:
    tool = load_mmaction_tool('test.py')
    args = tool['parse_args']()
    if args.dump and not args.dump.endswith(('.pkl', '.pickle')):
        sys.exit(f'--dump {args.dump}: predictions are saved as a pickle '
                 'file. Please end its name with .pkl or .pickle')
    cfg = load_config(args.config)
    checkpoint = check_checkpoint(args.checkpoint)

    cfg = merge_args(tool, cfg, args)
    cfg.launcher = args.launcher
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    default_work_dir = Path('work_dirs', Path(args.config).stem)
    cfg.work_dir = args.work_dir or cfg.get('work_dir', str(default_work_dir))
    cfg.load_from = args.checkpoint

    runner = build_runner(cfg)
    if checkpoint:
        check_fits(runner.model, checkpoint, args.checkpoint)
    runner.test()
    del runner
    leave_process_group()


if __name__ == '__main__':
    main()
