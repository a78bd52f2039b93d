"""Tiny backbones of every family of image models."""
import copy

import pytest
import torch
from mmengine.config import ConfigDict
from torch.nn.modules.batchnorm import _BatchNorm

from mmaction.registry import MODELS

TOKEN, RELEASED = ALIGNMENTS = ['TokenAlignment', 'ReleasedAlignment']
COMPARISONS = 'projects.ila.models.temporal.comparisons.'
OTHERS = [
    COMPARISONS + name for name in ('TemporalShift', 'DividedAttention',
                                    'MessageToken', 'NeighbourAverage')
]
SMALL = dict(channels=8, hidden_channels=8)
ARCH = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)
VIT = dict(type='mmpretrain.VisionTransformer', arch=ARCH, patch_size=8)
TIMM = dict(embed_dim=32, depth=2, num_heads=2, img_size=32, patch_size=8)


def with_mmpretrain(num_registers=0, **kwargs):
    return dict(
        type='MMPretrainImage',
        model=dict(VIT, **kwargs),
        img_size=32,
        num_registers=num_registers)


def with_timm(model, **kwargs):
    return dict(type='TimmImage', model=model, **{**TIMM, **kwargs})


IMAGES = dict(
    clip=dict(
        type='CLIPImage',
        arch=dict(ARCH, patch_size=8, out_channels=16),
        img_size=32),
    vit=with_mmpretrain(),
    dinov2=with_mmpretrain(4, layer_scale_init_value=0.5),
    eva02=with_mmpretrain(type='mmpretrain.ViTEVA02', sub_ln=True),
    timm_dinov2=with_timm('vit_small_patch14_reg4_dinov2', init_values=0.5),
    timm_dinov3=with_timm('vit_small_patch16_dinov3'),
    timm_siglip2=with_timm('vit_base_patch16_siglip_224.v2_webli'),
    timm_pe=with_timm('vit_pe_core_base_patch16_224'),
    timm_eva02=with_timm('eva02_tiny_patch14_224'),
    timm_clip=with_timm('vit_base_patch32_clip_224.openai'),
)

WITHOUT_CLASS_TOKEN = ['timm_siglip2']

with_images = pytest.mark.parametrize('image', IMAGES)


@torch.no_grad()
def stir(module):
    """Leave nothing as it is initialised, points and statistics either."""
    torch.manual_seed(1)
    for name, parameter in module.named_parameters():
        scale = 1. if '.point.' in name else 0.2
        parameter.add_(scale * torch.randn_like(parameter))
    for part in module.modules():
        if isinstance(part, _BatchNorm):
            part.running_mean.normal_(std=0.1)
            part.running_var.uniform_(0.5, 2)


_built = dict()


def build(image='clip', temporal=TOKEN, settings=None, depth=2, **kwargs):
    """Build the backbone of a config, or copy what was built of it before."""
    if settings is None:
        settings = dict(predictor=SMALL) if temporal in ALIGNMENTS else dict()
    if temporal is not None:
        temporal = dict(type=temporal, **settings)
    cfg = ConfigDict(
        type='ILABackbone', image=IMAGES[image], temporal=temporal, **kwargs)
    if cfg.image.type == 'TimmImage':
        cfg.image.depth = depth
    else:
        cfg.image.get('model', cfg.image).arch.num_layers = depth
    key = repr(cfg)
    if key not in _built:
        torch.manual_seed(0)
        model = MODELS.build(copy.deepcopy(cfg))
        model.init_weights()
        stir(model)
        _built[key] = model.eval()
    model = copy.deepcopy(_built[key])
    torch.manual_seed(0)
    return model
