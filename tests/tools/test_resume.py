"""Trainings that are killed and resumed end as if they had not been."""
import json
import os
import subprocess
import sys
from pathlib import Path

import torch
from videos import write_video

ROOT = Path(__file__).resolve().parents[2]
# Everything that keeps a state or draws at random takes part: shuffling,
# augmentation in workers, mixing, dropout, stochastic depth, disturbance and
# its decay, batch statistics, warm-up, weight average, and gradients that
# stay accumulated at the end of an epoch.
CONFIG = f'''
_base_ = ['{ROOT}/tests/data/tiny_motion.py']
model = dict(
    backbone=dict(drop_path_rate=0.2),
    cls_head=dict(dropout_ratio=0.5),
    data_preprocessor=dict(
        blending=dict(type='MixupBlending', num_classes=10, alpha=0.8)))
train_pipeline = [
    dict(type='SafePyAVInit'),
    dict(type='UniformSample', clip_len=4),
    dict(type='SafePyAVDecode'),
    dict(type='RandomResizedCrop'),
    dict(type='Resize', scale=(32, 32), keep_ratio=False),
    dict(type='Flip', flip_ratio=0.5),
    dict(type='TorchVisionWrapper', op='ColorJitter', brightness=0.4),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs')
]
dataset = dict(
    ann_file='{{folder}}/list.txt', data_prefix=dict(video='{{folder}}'))
train_dataloader = dict(
    batch_size=2, num_workers=1, persistent_workers=True,
    dataset=dict(pipeline=train_pipeline, **dataset))
val_dataloader = dict(
    batch_size=5, dataset=dict(pipeline=train_pipeline, **dataset))
train_cfg = dict(max_epochs=4, val_interval=1)
default_hooks = dict(
    checkpoint=dict(max_keep_ckpts=2), logger=dict(interval=1))
optim_wrapper = dict(accumulative_counts=2, clip_grad=dict(max_norm=1.))
custom_hooks = [
    dict(
        type='DisturbanceDecayHook', begin=0.25, interval=0.25, factor=0.5),
    dict(type='ReproducibleResumeHook'),
    dict(type='EMAHook', momentum=0.1)
]
'''


def is_equal(own, other):
    """Compare nested containers, and tensors in them bit by bit."""
    if isinstance(own, torch.Tensor):
        return torch.equal(own, other)
    if isinstance(own, dict):
        return own.keys() == other.keys() and all(
            is_equal(value, other[key]) for key, value in own.items())
    if isinstance(own, list):
        return len(own) == len(other) and all(map(is_equal, own, other))
    return own == other


def test_killed_trainings_end_with_the_same_weights(tmp_path):
    for index in range(10):
        write_video(tmp_path / f'{index}.mp4', 12, (64, 48))
    (tmp_path / 'list.txt').write_text(''.join(f'{index}.mp4 {index}\n'
                                               for index in range(10)))
    config = tmp_path / 'config.py'
    config.write_text(CONFIG.replace('{folder}', str(tmp_path)))
    result = subprocess.run([
        sys.executable, ROOT / 'tests/kill_and_resume.py', config, tmp_path,
        '3'
    ],
                            capture_output=True,
                            text=True,
                            cwd=tmp_path,
                            env={
                                **os.environ, 'OMP_NUM_THREADS': '1'
                            })
    assert result.returncode == 0, result.stderr[-3000:]
    kills = json.loads(result.stdout.splitlines()[-1])
    print(kills)
    assert len(kills) >= 20

    def load(name, epoch):
        return torch.load(
            tmp_path / name / f'epoch_{epoch}.pth', weights_only=True)

    assert load('uninterrupted', 3)['gradients']
    for epoch in (3, 4):
        expected = load('uninterrupted', epoch)
        for run in range(3):
            resumed = load(f'run{run}', epoch)
            for entry in ('state_dict', 'ema_state_dict', 'optimizer',
                          'param_schedulers', 'gradients'):
                assert is_equal(resumed.get(entry), expected.get(entry)), entry
