"""A small training, with and without FSDP; see test_strategies.py.

As a script it compares the two on this machine's GPUs, or CPUs::

    python tests/sharded_training.py --processes 1 --compile inductor
"""
import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Dict

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / 'tests'), str(ROOT)]

import torch  # noqa: E402
from launch import dist_train  # noqa: E402
from torch import Tensor  # noqa: E402
from videos import write_video  # noqa: E402

from projects.ila.weights import read_checkpoint  # noqa: E402

VIDEOS, BATCH = 12, 6
# A normalisation over the channels, since batch statistics are those of each
# process. A large eps keeps Adam from amplifying rounding.
CONFIG = f'''
_base_ = ['{ROOT}/tests/data/tiny_motion.py'{{strategy}}]
custom_imports = dict(imports=['projects.ila', 'sabotage'])
model = dict(backbone=dict(temporal=dict(predictor=dict(
    norm_cfg=dict(type='GN', num_groups=1)))))
train_pipeline = [
    dict(type='SafePyAVInit'),
    dict(type='UniformSample', clip_len=4),
    dict(type='SafePyAVDecode'),
    dict(type='Resize', scale=(32, 32), keep_ratio=False),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs')
]
dataset = dict(
    ann_file='list.txt', data_prefix=dict(video='.'), pipeline=train_pipeline)
train_dataloader = dict(batch_size={BATCH}, dataset=dataset)
val_dataloader = dict(batch_size=4, dataset=dataset)
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=3, val_interval=1)
param_scheduler = [
    dict(type='CosineAnnealingLR', T_max=6, eta_min=1e-4, by_epoch=False)]
optim_wrapper = dict(
    _delete_=True,
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05, eps=1e-3),
    paramwise_cfg=dict(norm_decay_mult=0., bias_decay_mult=0.),
    clip_grad=dict(max_norm=0.5))
sabotage = [-1, 0, 0]  # Iteration, signal, file.
custom_hooks = _base_.custom_hooks + [dict(type='Sabotage')]
if {{average}}:
    custom_hooks.append(dict(type='EMAHook', momentum=0.3))
default_hooks = dict(
    checkpoint=dict(max_keep_ckpts=-1, save_best=None),
    logger=dict(interval=1))
'''
# What happens to a training: in an iteration the last process gets a signal, or
# of a negative one its launcher, which has to hand it on; the first process is
# killed while it writes the n-th file.
SABOTAGE = '''
import os
import signal
import time
from mmaction.registry import HOOKS
from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import Hook
from projects.ila.utils import atomic_file


@HOOKS.register_module()
class Sabotage(Hook):

    def before_train(self, runner):
        self.iteration, self.signal, self.files = runner.cfg.sabotage
        self.fsync, atomic_file.os.fsync = os.fsync, self.sync

    def sync(self, descriptor):
        if get_rank() == 0:
            self.files -= 1
            if not self.files:
                os.truncate(f'/proc/self/fd/{descriptor}', 100)
                os.kill(os.getpid(), 9)
        self.fsync(descriptor)

    def before_train_iter(self, runner, *args, **kwargs):
        if (runner.iter == self.iteration
                and get_rank() == get_world_size() - 1):
            if self.signal >= 0:
                os.kill(os.getpid(), self.signal)
                return
            os.kill(os.getppid(), -self.signal)
            while signal.getsignal(-self.signal) is not signal.SIG_DFL:
                time.sleep(0.05)
'''
STRATEGIES = 'fsdp', 'deepspeed'


def make_folder(folder: Path) -> Path:
    """Write videos, and configs ``whole.py`` and ``with_STRATEGY.py``."""
    for index in range(VIDEOS):
        write_video(folder / f'{index}.mp4', 12, (64, 48))
    (folder / 'list.txt').write_text(''.join(f'{index}.mp4 {index % 10}\n'
                                             for index in range(VIDEOS)))
    (folder / 'sabotage.py').write_text(SABOTAGE)
    (folder / 'whole.py').write_text(CONFIG.format(strategy='', average=True))
    for name in STRATEGIES:
        base = f", '{ROOT}/configs/_base_/strategies/{name}.py'"
        (folder / f'with_{name}.py').write_text(
            CONFIG.format(strategy=base, average=name == 'fsdp'))
    return folder


def train(folder: Path, config: str, processes: int, *arguments: str,
          **settings: object) -> None:
    """Train to the end, with the same batch of all processes together."""
    result = start(folder, config, processes, *arguments, **settings)
    assert result.returncode == 0, result.stderr[-3000:]


def start(folder: Path, config: str, processes: int, *arguments: str,
          **settings: object):
    options = [f'{key}={value}' for key, value in settings.items()]
    return dist_train(folder, config, processes, *arguments,
                      '--allow-new-keys', '--cfg-options',
                      f'train_dataloader.batch_size={BATCH // processes}',
                      *options)


def read(path: Path) -> Dict[str, Tensor]:
    """Read weights, of sharded trainings from their folders."""
    if path.is_dir():
        path = path / 'weights.pth'
    return read_checkpoint(str(path))['state_dict']


def read_log(work_dir: Path, key: str) -> list:
    """Read what a training logged in each iteration."""
    logs = sorted(work_dir.glob('*/vis_data/scalars.json'))
    entries = [json.loads(line) for line in logs[-1].open()]
    return [entry[key] for entry in entries if key in entry]


def greatest_difference(own: Path, other: Path) -> float:
    """Compare the weights of two checkpoints."""
    own, other = read(own), read(other)
    assert own.keys() == other.keys()
    return max((value.float() - other[name].float()).abs().max().item()
               for name, value in own.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--processes', type=int, default=1)
    parser.add_argument('--compile', default='eager', help='backend')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = make_folder(Path(name))
        sys.path.append(name)
        train(folder, 'whole.py', 1, '--work-dir', 'whole', '--seed', '1')
        train(folder, 'with_fsdp.py', args.processes, '--work-dir', 'fsdp',
              '--seed', '1', **{'model.compile.backend': args.compile})
        norms = [
            read_log(folder / run, 'grad_norm') for run in ('whole', 'fsdp')
        ]
        print('torch', torch.__version__, 'gradient norms', *norms)
        for epoch in (1, 2, 3):
            checkpoint = f'epoch_{epoch}.pth'
            print(
                f'{checkpoint}: weights differ by at most',
                greatest_difference(folder / 'fsdp' / checkpoint,
                                    folder / 'whole' / checkpoint))


if __name__ == '__main__':
    main()
