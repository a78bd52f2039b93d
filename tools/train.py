"""Train a recognizer, with the arguments of MMAction2's ``tools/train.py``."""
import sys

from cli import (build_runner, check_file, check_num_classes,
                 leave_process_group, load_config, load_mmaction_tool,
                 merge_args)
from mmengine.device import get_device


def main() -> None:
    tool = load_mmaction_tool('train.py')
    args = tool['parse_args']()
    cfg = load_config(args.config)

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
    if cfg.get('load_from'):
        check_file(cfg.load_from, 'Checkpoint')

    runner = build_runner(cfg)
    check_num_classes(cfg, runner, 'train', 'val')
    runner.train()
    del runner
    leave_process_group()


if __name__ == '__main__':
    main()
