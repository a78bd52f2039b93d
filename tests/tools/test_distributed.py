"""The number of processes, and accumulation, do not change a training."""
from pathlib import Path

import pytest
import torch
from launch import dist_train
from videos import write_video

ROOT = Path(__file__).resolve().parents[2]
# Batch statistics are those of each process, so that a normalisation over the
# channels takes their place here. SGD does not amplify rounding as Adam does.
CONFIG = f'''
_base_ = ['{ROOT}/tests/data/tiny_motion.py']
model = dict(backbone=dict(temporal=dict(predictor=dict(
    norm_cfg=dict(type='GN', num_groups=1)))))
train_pipeline = [
    dict(type='SafePyAVInit'),
    dict(type='UniformSample', clip_len=4),
    dict(type='SafePyAVDecode'),
    dict(type='RandomResizedCrop'),
    dict(type='Resize', scale=(32, 32), keep_ratio=False),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs')
]
train_dataloader = dict(
    batch_size=4,
    dataset=dict(
        ann_file='list.txt',
        data_prefix=dict(video='.'),
        pipeline=train_pipeline))
val_dataloader = None
val_evaluator = None
val_cfg = None
train_cfg = dict(max_epochs=2)
# A schedule counts iterations, not steps.
param_scheduler = []
default_hooks = dict(checkpoint=dict(save_best=None))
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='SGD', lr=0.1, weight_decay=0.01),
    clip_grad=dict(max_norm=1.))
'''


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('distributed')
    for index in range(8):
        write_video(folder / f'{index}.mp4', 12, (64, 48))
    (folder / 'list.txt').write_text(''.join(f'{index}.mp4 {index}\n'
                                             for index in range(8)))
    (folder / 'config.py').write_text(CONFIG)
    return folder


def train(folder, processes, batch, accumulation):
    """Train two epochs and return the weights."""
    work_dir = folder / f'{processes}_{batch}_{accumulation}'
    result = dist_train(folder, 'config.py', processes, '--work-dir',
                        str(work_dir), '--cfg-options',
                        f'train_dataloader.batch_size={batch}',
                        f'optim_wrapper.accumulative_counts={accumulation}')
    assert result.returncode == 0, result.stderr[-3000:]
    checkpoint = torch.load(work_dir / 'epoch_2.pth', weights_only=True)
    return checkpoint['state_dict']


@pytest.fixture(scope='module')
def alone(folder):
    return train(folder, 1, 4, 1)


@pytest.mark.parametrize('processes, batch, accumulation',
                         [(2, 2, 1), (4, 1, 1), (1, 2, 2), (2, 1, 2)])
def test_same_total_batch_gives_the_same_weights(folder, alone, processes,
                                                 batch, accumulation):
    weights = train(folder, processes, batch, accumulation)
    for name, value in weights.items():
        torch.testing.assert_close(value, alone[name], rtol=1e-4, atol=1e-5)
    # They were trained on their own: rounding differs.
    assert any(not torch.equal(value, alone[name])
               for name, value in weights.items())
