import pytest
import timm
import torch
from image_models import TIMM, stir
from safetensors.torch import save_file

from mmaction.registry import MODELS

NAME = 'vit_small_patch14_reg4_dinov2.lvd142m'


def build(path):
    return MODELS.build(
        dict(
            type='TimmImage',
            model=NAME,
            pretrained=True,
            pretrained_cfg_overlay=dict(file=str(path)),
            **TIMM))


def test_init_weights_takes_timms_file(tmp_path):
    path = tmp_path / 'image.safetensors'
    model = build(path)  # Without the file, as for inference.
    source = timm.create_model(NAME, num_classes=0, **TIMM)
    stir(source)
    save_file(source.state_dict(), path)
    model.init_weights()
    for name, value in source.state_dict().items():
        assert torch.equal(model.model.state_dict()[name], value), name


def test_missing_file(tmp_path):
    model = build(tmp_path / 'none.safetensors')
    with pytest.raises(ValueError, match=f"weights of '{NAME}' .*; download"):
        model.init_weights()
