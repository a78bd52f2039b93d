"""Sharded trainings give what an unsharded one gives."""
import importlib.util
import shutil
from pathlib import Path

import pytest
import torch
from commands import run_tool
from launch import dist_train
from videos import write_video

ROOT = Path(__file__).resolve().parents[2]
# A normalisation over the channels, since batch statistics are those of each
# process. A large eps keeps Adam from amplifying rounding.
CONFIG = f'''
_base_ = ['{ROOT}/tests/data/tiny_motion.py'{{strategy}}]
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
train_dataloader = dict(batch_size={{batch}}, dataset=dataset)
val_dataloader = dict(batch_size=4, dataset=dataset)
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=3, val_interval=1)
param_scheduler = []
# Without clip_grad, which FSDP cannot do.
optim_wrapper = dict(
    _delete_=True,
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05, eps=1e-3),
    paramwise_cfg=dict(norm_decay_mult=0., bias_decay_mult=0.))
default_hooks = dict(checkpoint=dict(max_keep_ckpts=-1))
'''
NAMES = [
    'fsdp',
    pytest.param(
        'deepspeed',
        marks=pytest.mark.skipif(
            importlib.util.find_spec('deepspeed') is None,
            reason='DeepSpeed is not installed'))
]


def train(*arguments):
    result = dist_train(*arguments)
    assert result.returncode == 0, result.stderr[-3000:]


def read(path):
    if path.is_dir():
        path = path / 'weights.pth'
    return torch.load(path, weights_only=True)['state_dict']


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('strategies')
    for index in range(8):
        write_video(folder / f'{index}.mp4', 12, (64, 48))
    (folder / 'list.txt').write_text(''.join(f'{index}.mp4 {index}\n'
                                             for index in range(8)))
    (folder / 'whole.py').write_text(CONFIG.format(strategy='', batch=4))
    for name in ('fsdp', 'deepspeed'):
        base = f", '{ROOT}/configs/_base_/strategies/{name}.py'"
        (folder / f'with_{name}.py').write_text(
            CONFIG.format(strategy=base, batch=2))
    return folder


@pytest.fixture(scope='module')
def whole(folder):
    """An unsharded training from weights in a file, as a reference."""
    train(folder, 'whole.py', 1, '--work-dir', 'start', '--cfg-options',
          'train_cfg.max_epochs=1', 'randomness.seed=1')
    train(folder, 'whole.py', 1, '--work-dir', 'whole', '--cfg-options',
          'load_from=start/epoch_1.pth')
    return folder / 'whole'


@pytest.mark.parametrize('name', NAMES)
def test_sharded_training_equals_an_unsharded_one(folder, whole, name,
                                                  monkeypatch):
    monkeypatch.chdir(folder)
    work_dir = folder / name
    arguments = (f'with_{name}.py', 2, '--work-dir', name)
    train(folder, *arguments, '--cfg-options', 'load_from=start/epoch_1.pth')
    for epoch in (1, 3):
        weights = read(work_dir / f'epoch_{epoch}.pth')
        reference = read(whole / f'epoch_{epoch}.pth')
        assert weights.keys() == reference.keys()
        for key, value in weights.items():
            torch.testing.assert_close(
                value, reference[key], rtol=1e-4, atol=1e-5)
    assert not list(work_dir.glob('*.partial'))

    # A resumed run, optimizer included, gives the same last epoch.
    final = work_dir / 'epoch_3.pth'
    expected = read(final)
    shutil.move(final, work_dir / 'uninterrupted')
    (work_dir / 'last_checkpoint').write_text('epoch_2.pth')
    train(folder, *arguments, '--resume')
    resumed = read(final)
    for key, value in expected.items():
        assert torch.equal(value, resumed[key]), key

    # The weights are tested as those of any other training are.
    accuracies = []
    for config, checkpoint in ((f'with_{name}.py', final),
                               ('whole.py', whole / 'epoch_3.pth')):
        result = run_tool('tools/test.py', config, checkpoint)
        assert result.returncode == 0, result.stderr[-3000:]
        line = result.stdout[result.stdout.rindex('acc/top1'):]
        accuracies.append(line.split()[1])
    assert accuracies[0] == accuracies[1]


@pytest.mark.parametrize('name, option, message', [
    ('fsdp', 'optim_wrapper.clip_grad.max_norm=1.', 'use DeepSpeed'),
    ('fsdp', 'custom_hooks.3.type=EMAHook', 'EMAHook cannot'),
])
def test_what_a_sharded_training_cannot_do(folder, name, option, message):
    result = dist_train(folder, f'with_{name}.py', 1, '--work-dir', 'refused',
                        '--cfg-options', option)
    assert result.returncode != 0
    assert message in result.stderr
