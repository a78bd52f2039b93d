"""Plan a training run: iterations, batch size, GPU memory and data rate.

Nothing is trained and no GPU is needed. The memory is that of PyTorch's
tensors; CUDA itself and fragmentation need more.
"""
import argparse
import os
import sys
from bisect import bisect
from functools import lru_cache
from math import ceil
from pathlib import Path
from typing import Dict

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from arguments import add_config_arguments, refuse_shared  # noqa: E402

GIB = 2**30
# Settings of the backbone that save memory.
SAVERS = ('with_cp', 'freeze_image')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser, 'config file of the training')
    parser.add_argument(
        '--gpus', type=int, required=True, help='number of GPUs')
    parser.add_argument(
        '--gpu-memory',
        type=float,
        required=True,
        help='GiB of memory that PyTorch may use on each GPU')
    parser.add_argument(
        '--clips-per-second',
        type=float,
        help='measured training speed of one GPU')
    parser.add_argument(
        '--videos',
        type=int,
        help='number of videos; default: count the annotation file')
    args = parser.parse_args()
    refuse_shared(args.config)
    for name in ('gpus', 'clips_per_second', 'videos'):
        value = getattr(args, name)
        if value is not None and value <= 0:
            parser.error(f"--{name.replace('_', '-')} must be more than 0")
    return args


def main() -> None:
    args = parse_args()
    from projects.ila.analysis import training_plan as planning
    from projects.ila.cli import exit_on_bad_input, load_overridden_config
    from projects.ila.utils.clip_shape import find_clip_length
    cfg = load_overridden_config(args, 'model', 'train_cfg',
                                 'train_dataloader', 'optim_wrapper')
    if 'max_epochs' not in cfg.train_cfg:
        sys.exit(f'{args.config}: only runs of whole epochs can be planned. '
                 'Please add `train_cfg.max_epochs`')

    @lru_cache(maxsize=None)
    def memory_of(batch: int) -> Dict[str, int]:
        return dict(state, clips=planning.clip_memory(cfg, batch))

    with exit_on_bad_input():
        videos = args.videos or planning.count_videos(cfg)
        share = planning.share_of_step(cfg, args.gpus)
        state = planning.state_memory(cfg, args.gpus)
        batches = [x for x in range(1, share + 1) if share % x == 0]
        fitting = bisect(
            batches,
            args.gpu_memory * GIB,
            key=lambda batch: sum(memory_of(batch).values()))
    batch = batches[max(fitting, 1) - 1]
    memory = memory_of(batch)
    used = f'{sum(memory.values()) / GIB:.2f} GiB'
    if not fitting:
        fixes = [
            f'model.backbone.{key}=True' for key in SAVERS
            if not cfg.model.backbone.get(key)
            and not (key == 'freeze_image' and cfg.model.backbone.get('lora'))
        ]
        sys.exit(f'{args.config}: one clip per GPU takes {used}, more than '
                 f'{args.gpu_memory:g}. Please try '
                 f"{', '.join(fixes + ['fewer or smaller frames'])}")

    epochs, accumulated = cfg.train_cfg.max_epochs, share // batch
    clips = ceil(videos / args.gpus)
    iterations = ceil(clips / batch)
    parts = ', '.join(f'{x / GIB:.2f} {name}' for name, x in memory.items())
    print(f'{os.path.basename(args.config)}: {videos} videos, {epochs} epochs')
    print(f'batch: {share * args.gpus} clips per step = {args.gpus} GPUs x '
          f'{batch} clips x {accumulated} accumulated')
    print(f'iterations: {iterations} per epoch, {iterations * epochs} in all; '
          f'{ceil(iterations * epochs / accumulated)} optimizer steps')
    print(f'memory per GPU: {used} = {parts}; '
          f"{memory['clips'] / batch / 2**20:.0f} MiB per clip")
    if args.clips_per_second:
        speed = args.clips_per_second * args.gpus
        hours = clips * epochs / args.clips_per_second / 3600
        print(f'time: {hours:.1f} h, without validation')
        frames = find_clip_length(cfg, ('train', 'test'))
        print(f'data: {speed:.0f} clips/s, {speed * frames:.0f} decoded '
              'frames/s')
    else:
        print('time and data: give --clips-per-second, measured on one GPU')
    options = (f'train_dataloader.batch_size={batch} '
               f'optim_wrapper.accumulative_counts={accumulated}')
    if cfg.get('auto_scale_lr'):
        # A step has as many clips as before, so keep the learning rate.
        options += f' auto_scale_lr.base_batch_size={batch * args.gpus}'
    print(f'--cfg-options {options}')


if __name__ == '__main__':
    main()
