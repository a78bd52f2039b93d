"""Tiny models with random weights."""
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import nn

from mmaction.registry import MODELS

CONFIG = Path(__file__).parent / 'data/tiny_motion.py'
NAMES = ['turn left', 'turn right', 'grow']
TEXT_HEAD = dict(
    _delete_=True,
    type='ILATextHead',
    in_channels=16,
    patch_channels=32,
    class_names=NAMES,
    text_encoder=dict(layers=1))
TEMPORAL = ('TokenAlignment', 'ReleasedAlignment')


def tiny_config(**cls_head) -> Config:
    """Load the config of 4 frames of 32 pixels, with 2 clips x 3 crops.

    Args:
        **cls_head: Settings of the head, such as :data:`TEXT_HEAD`.
    """
    cfg = Config.fromfile(CONFIG)
    steps = {step.type: step for step in cfg.test_pipeline}
    pipeline = [
        steps['SafePyAVInit'],
        dict(steps['UniformSample'], clip_len=4,
             num_clips=2), steps['SafePyAVDecode'],
        dict(type='Resize', scale=(-1, 32)),
        dict(type='ThreeCrop', crop_size=32), steps['FormatShape'],
        steps['PackActionInputs']
    ]
    cfg.merge_from_dict({
        'model.cls_head': cls_head,
        'test_dataloader.dataset.pipeline': pipeline,
        'test_dataloader.dataset.data_prefix.video': '',
    })
    return cfg


def draw_weights(model: nn.Module) -> nn.Module:
    """Draw weights under which videos get different scores."""
    torch.manual_seed(0)
    model.init_weights()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.dim() > 1 and 'tower' not in name:
                value.normal_(std=2 * value[0].numel()**-0.5)
    return model.eval()


def save_weights(cfg: Config, path: Path) -> None:
    """Save what :func:`draw_weights` draws for the model of a config."""
    # Fixtures of a module are made outside of any scope.
    with DefaultScope.overwrite_default_scope('mmaction'):
        model = draw_weights(MODELS.build(cfg.model))
    torch.save(dict(state_dict=model.state_dict()), path)


def tiny_backbone(temporal: str = 'TokenAlignment',
                  layers: list = None,
                  num_layers: int = 2,
                  **settings) -> nn.Module:
    """Build a backbone whose points are not all at the centre.

    Args:
        temporal (str): Name of the temporal module.
        layers (list[int], optional): The blocks that have it.
        num_layers (int): Number of blocks.
        **settings: Of the temporal module.
    """
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type='ILAVisionTransformer',
            arch=dict(
                embed_dims=24,
                num_layers=num_layers,
                num_heads=3,
                feedforward_channels=32,
                patch_size=8,
                out_channels=16),
            img_size=32,
            layers=layers,
            temporal=dict(type=temporal, **settings)))
    model.eval()
    model.init_weights()
    for alignment in model.alignments:
        alignment.predictor.point[-1].weight.data *= 50
    return model
