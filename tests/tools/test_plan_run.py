import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from modules import load_module
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from projects.ila.analysis import training_plan as planning
from projects.ila.models.images import CLIPImage
from projects.ila.utils.clip_shape import find_frame_size

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / 'tools/analysis/plan_run.py'
K400 = ROOT / 'configs/ila_vitb16_k400.py'
SMALL = ROOT / 'configs/ila_motion.py'
COMPARISONS = 'projects.ila.models.temporal.comparisons'
MIB = 2**20
GIB = 2**30

tool = load_module(TOOL)


@pytest.fixture(scope='module', autouse=True)
def memories():
    """Find the memory of equal models and batches once."""
    found = {}
    clip_memory = planning.clip_memory

    def find(cfg, batch):
        key = repr((cfg.model, cfg.optim_wrapper.get('type'),
                    find_frame_size(cfg, 0, ('train', )), batch))
        if key not in found:
            found[key] = clip_memory(cfg, batch)
        return found[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, 'clip_memory', find)
        yield


def memory_of_clips(optim_wrapper='OptimWrapper', **backbone):
    """MiB of one clip alone and of each further one.

    Model and batches are those of benchmarks/training_memory.py. Its 12 blocks
    take the same, so that those of models with 2 and 3 are enough.
    """
    cfg = Config.fromfile(K400)
    cfg.model.cls_head = dict(
        type='ILALinearHead', num_classes=400, in_channels=512)
    cfg.model.backbone.update(backbone)
    cfg.optim_wrapper.type = optim_wrapper
    found = []
    for blocks in (2, 3):
        cfg.model.backbone.arch = dict(
            CLIPImage.arch_zoo['clip-b/16'], num_layers=blocks)
        found.append([planning.clip_memory(cfg, x) / MIB for x in (1, 3)])
    one, three = (two + 10 * (more - two) for two, more in zip(*found))
    return one, (three - one) / 2


@pytest.fixture
def plan(monkeypatch, capsys, tmp_path):
    """Plan 15 epochs of the one-block model on 1025 videos."""
    names = '\n'.join(f'{i}.mp4 0' for i in range(1025))
    (tmp_path / 'list.txt').write_text(f'\n{names}\n\n')
    config = tmp_path / 'config.py'
    config.write_text(
        f"_base_ = ['{SMALL}']\ntrain_cfg = dict(max_epochs=15)\n")

    def run(*arguments, options=()):
        monkeypatch.setattr(sys, 'argv', [
            'plan_run.py',
            str(config), *arguments, '--cfg-options',
            f'train_dataloader.dataset.ann_file={tmp_path}/list.txt', *options
        ])
        tool.main()
        return capsys.readouterr().out

    return run


def room_for(batch, gpus):
    """GiB that hold a batch of the one-block model and no clip more."""
    cfg = Config.fromfile(SMALL)
    state = sum(planning.state_memory(cfg, gpus).values())
    return str((state + planning.clip_memory(cfg, batch) + 1) / GIB)


def test_wrapped_data_sets_are_not_counted():
    cfg = Config.fromfile(SMALL)
    cfg.train_dataloader.dataset = dict(
        type='RepeatDataset', times=2, dataset=cfg.train_dataloader.dataset)
    with pytest.raises(ValueError, match='RepeatDataset .*--videos'):
        planning.count_videos(cfg)


def test_recognizer_of_mmaction2_needs_the_same_memory():
    cfg = Config.fromfile(SMALL)
    cfg.model.backbone.out_type = 'cls_token'
    cfg.model.cls_head = dict(
        type='TimeSformerHead', num_classes=10, in_channels=64)
    cfg.model.neck = None
    expected = planning.clip_memory(cfg, 2)
    cfg.model = dict(
        type='Recognizer3D',
        backbone=cfg.model.backbone,
        neck=dict(type='AlignmentLossNeck', align_loss_weight=1.),
        cls_head=cfg.model.cls_head)
    assert planning.clip_memory(cfg, 2) == pytest.approx(expected, rel=0.01)


# MiB that real training steps took, from the table of "Memory of training" in
# benchmarks/README.md: highest memory of the process, on a CPU. Its other rows
# with recomputed blocks are less than a clip of a larger batch takes: one clip
# alone has its peak where the gradients are, which these steps start without.
@pytest.mark.parametrize('backbone, measured', [
    (dict(temporal=dict(type='TokenAlignment')), 1355),
    (dict(temporal=dict(type='TokenAlignment'), freeze_image=True), 1029),
    (dict(temporal=dict(type='ReleasedAlignment')), 1657),
    (dict(
        temporal=dict(type='TokenAlignment'), freeze_image=True,
        with_cp=True), 184),
])
def test_memory_per_clip_is_the_measured_one(backbone, measured):
    one, further = memory_of_clips(**backbone)
    assert further == pytest.approx(measured, rel=0.03)
    # Whatever the batch, blocks keep the weights of QuickGELU's linear layers
    # multiplied by its factor; recomputed blocks do so one at a time.
    blocks = 1 if backbone.get('with_cp') else 12
    one -= blocks * 2 * 768 * 3072 * 4 / MIB
    # The pairs of one video need not be copied together.
    assert 0.8 * measured < one < measured


def test_mixed_precision_keeps_16_bits_but_for_the_residuals():
    """Of the 16 widths that a block keeps of a token, two stay float32."""
    token = dict(type='TokenAlignment')
    _, full = memory_of_clips(temporal=token)
    _, half = memory_of_clips('OptionalAmpOptimWrapper', temporal=token)
    assert half / full == pytest.approx(9 / 16, rel=0.06)


@pytest.mark.parametrize('options', [{
    'model.bf16': True
}, {
    'optim_wrapper.type': 'AmpOptimWrapper'
}])
def test_every_way_to_half_precision_counts(options):
    cfg = Config.fromfile(SMALL)
    full = planning.clip_memory(cfg, 8)
    cfg.merge_from_dict(options)
    assert planning.clip_memory(cfg, 8) < 0.75 * full


def test_normalisations_are_float32_as_on_a_gpu():
    norm = nn.LayerNorm(8, device='meta')
    with FakeTensorMode(), torch.autocast('cpu', torch.bfloat16):
        planning.make_fake(norm)
        assert norm(torch.empty(2, 8).bfloat16()).dtype == torch.float32


def test_live_memory():
    """Weights and views do not count, nor does what is gone."""
    weight = torch.ones(64, 64)
    with planning.LiveMemory([weight]) as live:
        x = torch.ones(2, 64)
        y = (x @ weight.t()).view(-1)
        assert live.now == live.peak == 4 * (128 + 128)
        del x
        y = y.relu()
    assert live.now == 4 * 128
    assert live.peak == 4 * (128 + 128)


def test_state_is_that_of_the_trained_parameters():
    """README.md's zoo has 163.9 M parameters; the text tower is frozen."""
    memory = planning.state_memory(Config.fromfile(K400), 8)
    width, layers = 512, 12
    tower = (49408 + 77 + width + 2) * width
    tower += layers * (12 * width + 13) * width
    trained = 163.9e6 - tower
    expected = dict(
        weights=163.9e6, gradients=trained, AdamW=2 * trained, DDP=trained)
    floats = {part: size / 4 for part, size in memory.items()}
    assert floats == pytest.approx(expected, abs=2e5)


def test_average_and_gradient_copies_are_counted_where_there_are_any():
    cfg = Config.fromfile(SMALL)
    alone = planning.state_memory(cfg, 1)
    assert set(alone) == {'weights', 'gradients', 'AdamW'}
    cfg.custom_hooks = [dict(type='EMAHook')]
    several = planning.state_memory(cfg, 2)
    assert several.pop('EMA') == alone['weights']
    assert several.pop('DDP') == alone['gradients']
    assert several == alone


@pytest.mark.parametrize('settings, states', [
    (dict(type='SGD', lr=0.1), 0),
    (dict(type='SGD', lr=0.1, momentum=0.9), 1),
    (dict(type='Adam', lr=0.1, amsgrad=True), 3),
])
def test_optimizers_keep_what_theirs_do(settings, states):
    cfg = Config.fromfile(SMALL)
    expected = planning.state_memory(cfg, 1)['gradients']
    cfg.optim_wrapper.optimizer = settings
    memory = planning.state_memory(cfg, 1)
    assert memory[settings['type']] == states * expected


def test_strategies_are_not_planned():
    cfg = Config.fromfile(SMALL)
    cfg.strategy = dict(type='ILAFSDPStrategy')
    with pytest.raises(ValueError, match='--cfg-options strategy=None'):
        planning.state_memory(cfg, 8)


def test_plan_that_fits(plan):
    """One GPU has 513 videos, for which it needs 17 batches of 32."""
    out = plan('--gpus', '2', '--gpu-memory', '80')
    assert '1025 videos, 15 epochs' in out
    assert '64 clips per step = 2 GPUs x 32 clips x 1 accumulated' in out
    assert '17 per epoch, 255 in all; 255 optimizer steps' in out
    assert out.endswith('--cfg-options train_dataloader.batch_size=32 '
                        'optim_wrapper.accumulative_counts=1\n')
    assert 'h, without' not in out and 'give --clips-per-second' in out


def test_batch_is_the_largest_that_fits(plan):
    """513 videos are 65 batches of 8; 15 x 65 iterations make 244 steps."""
    out = plan('--gpus', '2', '--gpu-memory', room_for(8, gpus=2))
    assert '= 2 GPUs x 8 clips x 4 accumulated' in out
    assert '65 per epoch, 975 in all; 244 optimizer steps' in out
    # Not all batches that fit divide the step.
    out = plan('--gpus', '2', '--gpu-memory', room_for(15, gpus=2))
    assert '= 2 GPUs x 8 clips x 4 accumulated' in out


def test_time_and_data_rate(plan):
    """15 x 513 clips at 2 per second; the clips have 8 frames."""
    out = plan('--gpus', '2', '--gpu-memory', '80', '--clips-per-second', '2')
    assert 'time: 1.1 h' in out
    assert 'data: 4 clips/s, 32 decoded frames/s' in out


def test_printed_options_keep_the_plan(plan):
    """They are of the same step, on which the learning rate depends."""
    arguments = '--gpus', '4', '--gpu-memory', room_for(4, gpus=4)
    options = [
        'auto_scale_lr.base_batch_size=64',
        'optim_wrapper.accumulative_counts=2'
    ]
    out = plan(*arguments, options=options)
    assert '128 clips per step = 4 GPUs x 4 clips x 8 accumulated' in out
    printed = out.splitlines()[-1].split()[1:]
    assert 'auto_scale_lr.base_batch_size=16' in printed
    assert plan(*arguments, options=printed) == out


def test_steps_are_those_that_the_config_was_written_for():
    """8 GPUs x 8 clips x 4, whatever the GPUs are now."""
    cfg = Config.fromfile(K400)
    assert [planning.share_of_step(cfg, gpus) for gpus in (8, 2)] == [32, 128]
    with pytest.raises(ValueError, match='3 GPUs cannot share the 256 clips'):
        planning.share_of_step(cfg, 3)
    cfg.pop('auto_scale_lr')
    assert [planning.share_of_step(cfg, gpus) for gpus in (8, 3)] == [32, 32]


def test_other_forms_are_planned_without_neck(plan):
    """The frames are then those of the pipeline."""
    arguments = '--gpus 1 --gpu-memory 1 --clips-per-second 10'.split()
    options = [
        'model.backbone.temporal._delete_=True',
        f'model.backbone.temporal.type={COMPARISONS}.DividedAttention',
        'model.neck=None'
    ]
    out = plan(*arguments, options=options)
    assert 'data: 10 clips/s, 80 decoded frames/s' in out


def test_more_time_takes_more_memory():
    cfg = Config.fromfile(SMALL)
    needed = []
    for temporal in (None, 'MessageToken', 'DividedAttention'):
        cfg.model.backbone.temporal = temporal and dict(
            type=f'{COMPARISONS}.{temporal}')
        needed.append(planning.clip_memory(cfg, 2))
    assert needed == sorted(set(needed))


def test_lora_takes_less_memory():
    """Its weights are computed, which tensors without data must survive."""
    cfg = Config.fromfile(SMALL)
    whole = planning.clip_memory(cfg, 2), planning.state_memory(cfg, 1)
    cfg.model.backbone.lora = dict(rank=2)
    adapted = planning.clip_memory(cfg, 2), planning.state_memory(cfg, 1)
    assert adapted[0] < whole[0]
    assert adapted[1]['gradients'] < whole[1]['gradients']


def test_small_frames_take_less_memory():
    """A quarter of the patches, and what does not depend on them."""
    cfg = Config.fromfile(SMALL)
    whole = planning.clip_memory(cfg, 2)
    for step in cfg.train_dataloader.dataset.pipeline:
        if step['type'] == 'RandomCrop':
            step['size'] = cfg.crop_size // 2
    cfg.model.backbone.img_size = cfg.crop_size + 8
    assert whole / 4 < planning.clip_memory(cfg, 2) < whole / 2


def test_too_small_a_gpu(plan):
    arguments = '--gpus', '1', '--gpu-memory', '0.001'
    with pytest.raises(SystemExit, match='model.backbone.with_cp=True'):
        plan(*arguments)
    with pytest.raises(SystemExit, match='fewer or smaller frames') as error:
        plan(*arguments, options=['model.backbone.with_cp=True'])
    assert 'with_cp' not in error.value.code


def test_too_small_a_gpu_for_another_image_backbone(monkeypatch):
    """What is advised is what the backbone has, and is advised once."""
    config = ROOT / 'configs/generality/ila_motion_eva02.py'
    arguments = [
        'plan_run.py',
        str(config), '--gpus', '1', '--gpu-memory', '0.001', '--videos', '9'
    ]
    recompute = 'model.backbone.with_cp=True'
    freeze = 'model.backbone.freeze_image=True'
    lora = 'model.backbone.lora.rank=2'
    for options, advice in (([], f'try {recompute}, {freeze}, fewer'),
                            (['--cfg-options',
                              lora], f'try {recompute}, fewer'),
                            (['--cfg-options', recompute,
                              freeze], 'try fewer or')):
        monkeypatch.setattr(sys, 'argv', arguments + options)
        with pytest.raises(SystemExit, match=advice):
            tool.main()


def test_videos_must_be_known(plan):
    arguments = '--gpus', '1', '--gpu-memory', '1'
    missing = 'train_dataloader.dataset.ann_file=none.txt'
    with pytest.raises(SystemExit, match='none.txt.*ann_file.*--videos'):
        plan(*arguments, options=[missing])
    assert '7 videos' in plan(*arguments, '--videos', '7', options=[missing])


def test_epochs_must_be_known(plan):
    with pytest.raises(SystemExit, match='train_cfg.max_epochs'):
        plan(
            '--gpus',
            '1',
            '--gpu-memory',
            '1',
            options=[
                'train_cfg._delete_=True', 'train_cfg.type=IterBasedTrainLoop',
                'train_cfg.max_iters=10'
            ])


def test_numbers_must_be_positive(plan, capsys):
    with pytest.raises(SystemExit):
        plan('--gpus', '0', '--gpu-memory', '1')
    assert '--gpus must be more than 0' in capsys.readouterr().err
