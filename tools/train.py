"""Train a recognizer, with the arguments of MMAction2's ``tools/train.py``.

It also accepts ``--allow-new-keys``.
"""
import argparse
import sys
from pathlib import Path

from arguments import (add_config_arguments, add_launcher_arguments,
                       check_file, check_work_dir, holds_weights,
                       refuse_shared, set_local_rank)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser, 'config file of the training')
    parser.add_argument(
        '--work-dir',
        help='folder of checkpoints and logs; default: `work_dir` of '
        'the config, or work_dirs/CONFIG')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='continue from this checkpoint, or the latest if none is named')
    parser.add_argument(
        '--amp', action='store_true', help='use mixed precision, on a GPU')
    parser.add_argument(
        '--no-validate', action='store_true', help='leave out validation')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate with the batch size, from '
        '`auto_scale_lr.base_batch_size`')
    parser.add_argument('--seed', type=int, help='seed of the training')
    parser.add_argument(
        '--diff-rank-seed',
        action='store_true',
        help='give each process its own seed')
    parser.add_argument(
        '--deterministic',
        action='store_true',
        help='use only operations that give the same result every time')
    add_launcher_arguments(parser)
    args = parser.parse_args()
    refuse_shared(args.config)
    set_local_rank(args)
    return args


def main() -> None:
    args = parse_args()
    from mmengine.device import get_device

    from projects.ila import cli
    from projects.ila.engine.hooks import Preempted
    from projects.ila.engine.num_classes import check_num_classes
    from projects.ila.engine.process_group import leave_process_group
    from projects.ila.engine.work_dir import (check_unlocked,
                                              find_latest_checkpoint)
    from projects.ila.utils import unwrap_model
    from projects.ila.utils.config_arguments import find_name
    from projects.ila.utils.paramwise_keys import report_unmatched
    cfg = cli.load_config(args)

    if args.auto_scale_lr and 'auto_scale_lr' not in cfg:
        sys.exit(f'{args.config}: --auto-scale-lr needs the batch size that '
                 'the learning rate is for. Please add auto_scale_lr = '
                 'dict(enable=False, base_batch_size=...)')
    optim_wrapper = cfg.get('optim_wrapper') or dict()
    if find_name(optim_wrapper.get('type')) == 'OptionalAmpOptimWrapper':
        args.amp = False  # Already on, and MMAction2 would refuse it.
    if args.amp and get_device() == 'cpu':
        sys.exit('--amp needs a GPU, and there is none. Please leave it out')

    cfg = cli.merge_args(cli.load_mmaction_tool('train.py'), cfg, args)
    # MMAction2 ignores these arguments if the config has `randomness`.
    if args.seed is not None:
        cfg.randomness.seed = args.seed
    if args.diff_rank_seed:
        cfg.randomness.diff_rank_seed = True
    if args.deterministic:
        cfg.randomness.deterministic = True
    check_work_dir(cfg.work_dir, args.config)
    with cli.exit_on_bad_input():
        check_unlocked(cfg.work_dir)
    if 'runner_type' in cfg and cfg.get('resume') and not cfg.get('load_from'):
        # This runner loads weights before its hooks can find a checkpoint.
        with cli.exit_on_bad_input():
            cfg.load_from = find_latest_checkpoint(cfg.work_dir)
    # Checkpoints of sharded trainings are folders.
    if (cfg.get('load_from') and Path(cfg.load_from).is_dir()
            and not holds_weights(cfg.load_from)):
        if not cfg.get('resume'):
            cfg.load_from = str(Path(cfg.load_from, 'weights.pth'))
    elif cfg.get('load_from'):
        check_file(cfg.load_from, 'Checkpoint')

    runner = cli.build_runner(cfg)
    check_num_classes(cfg, runner, 'train', 'val')
    report_unmatched(cfg.get('optim_wrapper'), unwrap_model(runner.model))
    code = None
    with cli.exit_on_bad_start(runner):
        try:
            runner.train()
        except Preempted as stop:
            code = stop.code
    del runner
    leave_process_group()
    if code is not None:
        sys.exit(code)


if __name__ == '__main__':
    main()
