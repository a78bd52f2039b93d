"""Train a recognizer, with the arguments of MMAction2's ``tools/train.py``.

Beside them it takes ``--allow-new-keys``, see ``config_keys.py``.
"""
import sys
from pathlib import Path

from cli import (build_runner, check_file, check_num_classes,
                 exit_on_bad_input, exit_on_bad_start, leave_process_group,
                 load_config, load_mmaction_tool, merge_args,
                 parse_mmaction_args)
from mmengine.device import get_device

from projects.ila.engine.work_dir import check_unlocked, find_latest_checkpoint


def main() -> None:
    tool = load_mmaction_tool('train.py')
    args = parse_mmaction_args(tool)
    cfg = load_config(args)

    if args.auto_scale_lr and 'auto_scale_lr' not in cfg:
        sys.exit(f'{args.config}: --auto-scale-lr needs the batch size that '
                 'the learning rate is for. Please add auto_scale_lr = '
                 'dict(enable=False, base_batch_size=...)')
    optim_wrapper = cfg.get('optim_wrapper', {}).get('type', 'OptimWrapper')
    if optim_wrapper == 'OptionalAmpOptimWrapper':
        args.amp = False  # It is on already, and MMAction2 would refuse.
    if args.amp and get_device() == 'cpu':
        sys.exit('--amp needs a GPU, and there is none. Please leave it out')

    cfg = merge_args(tool, cfg, args)
    # MMAction2 overlooks these if the config has a `randomness` of its own.
    if args.seed is not None:
        cfg.randomness.seed = args.seed
    if args.diff_rank_seed:
        cfg.randomness.diff_rank_seed = True
    if args.deterministic:
        cfg.randomness.deterministic = True
    try:
        check_unlocked(cfg.work_dir)
    except BlockingIOError as error:
        sys.exit(error.strerror)
    if 'runner_type' in cfg and cfg.get('resume') and not cfg.get('load_from'):
        # Such a runner loads before its hooks can find a checkpoint.
        with exit_on_bad_input():
            cfg.load_from = find_latest_checkpoint(cfg.work_dir)
    # DeepSpeed's checkpoints are folders.
    if cfg.get('load_from') and not (cfg.get('resume')
                                     and Path(cfg.load_from).is_dir()):
        check_file(cfg.load_from, 'Checkpoint')

    runner = build_runner(cfg)
    check_num_classes(cfg, runner, 'train', 'val')
    with exit_on_bad_start(runner):
        runner.train()
    del runner
    leave_process_group()


if __name__ == '__main__':
    main()
