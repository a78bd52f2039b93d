"""One step of each recipe moves exactly the parameters that it should."""
import copy
from functools import partial
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import AmpOptimWrapper, build_optim_wrapper

from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample

CONFIG = Path(__file__).resolve().parents[1] / 'configs/ila_vitb16_k400.py'
TOKEN, RELEASED = 'TokenAlignment', 'ReleasedAlignment'
ADDED = {
    TOKEN: [
        'alignment.predictor.interaction.0.depthwise_conv',
        'alignment.predictor.interaction.0.pointwise_conv',
        'alignment.predictor.prediction', 'alignment.predictor.point'
    ],
    RELEASED: [
        'message_fc', 'message_ln', 'temporal_conv', 'temporal_fc', 'skip_fc',
        'skip_align_fc', 'alignment.predictor.interaction.0.depthwise_conv',
        'alignment.predictor.interaction.0.pointwise_conv',
        'alignment.predictor.interaction.1', 'alignment.predictor.reduction',
        'alignment.predictor.prediction', 'alignment.predictor.point'
    ]
}
CLIP = [
    'backbone.image.model.cls_token', 'backbone.image.model.pos_embed',
    'backbone.image.model.patch_embed', 'backbone.image.model.pre_norm',
    'backbone.image.model.ln1', 'backbone.image.proj',
    'backbone.image.model.layers.0.ln1', 'backbone.image.model.layers.0.attn',
    'backbone.image.model.layers.0.ln2', 'backbone.image.model.layers.0.ffn'
]
NEW = ['neck', 'cls_head.prompt', 'cls_head.logit_scale']
TEXT_TOWER = ['cls_head.text_encoder']


def build(temporal=TOKEN, **settings):
    torch.manual_seed(0)
    cfg = Config.fromfile(CONFIG)
    cfg.merge_from_dict({
        'model.backbone.temporal.type':
        temporal,
        'model.backbone.arch':
        dict(
            _delete_=True,
            embed_dims=64,
            num_layers=1,
            num_heads=1,
            feedforward_channels=64,
            patch_size=32,
            out_channels=512),
        'model.cls_head.patch_channels':
        64,
        'model.cls_head.class_names': ['one', 'two', 'three'],
        'model.cls_head.num_classes':
        3,
        'model.cls_head.text_encoder':
        dict(layers=1),
        'model.data_preprocessor.augments': [],
        'model.data_preprocessor.blending':
        None,
        'optim_wrapper.accumulative_counts':
        1,
        'optim_wrapper.optimizer.lr':
        1e-2,
        **settings
    })
    model = MODELS.build(cfg.model)
    model.init_weights()
    return model, build_optim_wrapper(model, cfg.optim_wrapper)


def step(model, optim_wrapper):
    data = dict(
        inputs=[
            torch.randint(256, (1, 3, 4, 64, 64), dtype=torch.uint8)
            for _ in range(4)
        ],
        data_samples=[
            ActionDataSample().set_gt_label(label) for label in (0, 1, 2, 0)
        ])
    return model.train_step(data, optim_wrapper)


@pytest.mark.parametrize('temporal', ADDED)
@pytest.mark.parametrize('frozen', [False, True])
@pytest.mark.parametrize('bf16', [False, True])
def test_moved_parameters(temporal, frozen, bf16):
    model, optim_wrapper = build(
        temporal, **{
            'model.backbone.freeze_image': frozen,
            'model.bf16': bf16
        })
    before = copy.deepcopy(dict(model.named_parameters()))
    # Skip layers start from zero and let nothing through in the first step.
    for _ in range(3):
        losses = step(model, optim_wrapper)
        assert all(value.isfinite().all() for value in losses.values())
    moved = {
        name
        for name, value in model.named_parameters()
        if not torch.equal(value, before[name])
    }
    expected = NEW + [
        f'backbone.temporal.0.{part}' for part in ADDED[temporal]
    ]
    expected += [] if frozen else CLIP
    still = TEXT_TOWER + (CLIP if frozen else [])
    for name in before:
        inside = [
            part for part in expected + still
            if name == part or name.startswith(f'{part}.')
        ]
        assert len(inside) == 1, name
        assert (name in moved) == (inside[0] in expected), name


def test_layer_wise_learning_rates():
    model, optim_wrapper = build(
        **{
            'optim_wrapper.constructor':
            'mmpretrain.LearningRateDecayOptimWrapperConstructor',
            'optim_wrapper.paramwise_cfg':
            dict(_delete_=True, layer_decay_rate=0.5, bias_decay_mult=0.)
        })
    groups = {
        group['param_name']: group
        for group in optim_wrapper.optimizer.param_groups
    }
    depths = {
        'backbone.image.model.cls_token': 2,
        'backbone.image.model.pre_norm.weight': 2,
        'backbone.image.model.patch_embed.projection.weight': 2,
        'backbone.image.model.layers.0.attn.qkv.weight': 1,
        'backbone.temporal.0.alignment.predictor.point.0.weight': 0,
        'backbone.image.proj.weight': 0,
        'neck.layers.0.attn.qkv.weight': 0,
        'cls_head.logit_scale': 0,
    }
    for name, depth in depths.items():
        assert groups[name]['lr'] == 1e-2 * 0.5**depth, name
    assert groups['neck.layers.0.attn.qkv.bias']['weight_decay'] == 0
    assert not any(name.startswith('cls_head.text_encoder') for name in groups)


@pytest.fixture
def amp_on_cpu(monkeypatch):
    """MMEngine's mixed precision, with PyTorch's fp16 of the CPU in it."""
    optimizers = 'projects.ila.engine.optimizers.optional_amp_optim_wrapper'
    monkeypatch.setattr(f'{optimizers}.get_device', lambda: 'cuda')
    module = 'mmengine.optim.optimizer.amp_optimizer_wrapper'
    monkeypatch.setattr(f'{module}.is_cuda_available', lambda: True)
    monkeypatch.setattr(f'{module}.GradScaler',
                        partial(torch.amp.GradScaler, 'cpu'))
    monkeypatch.setattr('mmengine.runner.amp.autocast',
                        partial(torch.autocast, 'cpu'))


@pytest.mark.parametrize('temporal', ADDED)
def test_fp16_with_loss_scaling_learns_what_float32_does(amp_on_cpu, temporal):
    runs = []
    for dtype in ('float32', 'float16'):
        model, optim_wrapper = build(
            temporal, **{
                'optim_wrapper.dtype': dtype,
                'optim_wrapper.loss_scale': 256.,
                'optim_wrapper.optimizer.lr': 1e-5
            })
        losses = []
        for _ in range(4):
            torch.manual_seed(1)  # The same batch each time.
            losses.append(step(model, optim_wrapper)['loss'].detach())
        runs.append(torch.stack(losses))
    assert type(optim_wrapper) is AmpOptimWrapper
    assert runs[0][-1] < runs[0][0] - 0.1
    torch.testing.assert_close(runs[1], runs[0], rtol=0.01, atol=0.)


def test_fp16_step_that_overflows_is_left_out(amp_on_cpu):
    model, optim_wrapper = build(
        **{
            'optim_wrapper.dtype': 'float16',
            'optim_wrapper.loss_scale': dict(_delete_=True, init_scale=2.**40)
        })
    before = copy.deepcopy(dict(model.named_parameters()))
    step(model, optim_wrapper)
    assert optim_wrapper.loss_scaler.get_scale() == 2**39
    for name, value in model.named_parameters():
        assert torch.equal(value, before[name]), name
