import pytest
import timm
import torch
from image_models import TIMM, stir
from safetensors.torch import save_file

from mmaction.registry import MODELS

NAME = 'vit_small_patch14_reg4_dinov2.lvd142m'


def build(path, model=NAME):
    return MODELS.build(
        dict(
            type='TimmImage',
            model=model,
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


class Code:

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, 'w')


def test_bad_files(tmp_path):
    """They are read as any other file of weights."""
    code, ran = tmp_path / 'code.pth', tmp_path / 'ran'
    torch.save(dict(a=Code(str(ran))), code)
    weights = timm.create_model(NAME, num_classes=0, **TIMM).state_dict()
    weights['cls_token'][..., 3] = float('nan')
    torch.save(weights, tmp_path / 'nan.pth')
    torch.save(dict(a=torch.ones(1)), tmp_path / 'other.pth')
    for path, error, words in (
        (tmp_path / 'other.pth', ValueError, 'Missing key'),
        (tmp_path / 'none.pth', FileNotFoundError, 'none.pth.* not exist'),
        (code, ValueError, 'code.pth.* holds more than data'),
        (tmp_path / 'nan.pth', ValueError, f"'{NAME}': NaN .*cls_token"),
        (tmp_path, ValueError, 'cannot be read: it is a folder'),
        ('x://code.pth', ValueError, "no storage 'x://'"),
    ):
        with pytest.raises(error, match=words):
            build(path).init_weights()
    assert not ran.exists()


@pytest.mark.parametrize(
    'drop, add, message',
    [
        (['blocks.1.norm1.bias'], [], 'lack 1 entries .*blocks.1.norm1.bias'),
        (['norm.weight'], [], 'lack 1 entries .*norm.weight.* have 0'),
        (['pos_embed'], [], 'lack 1 entries .*pos_embed'),
        (['cls_token', 'norm_pre.bias'], [], 'lack 2 entries'),
        ([], ['reg_token'
              ], 'lack 0 .*none. and have 1 that it lacks .reg_token'),
        ([], ['blocks.0.ls1.gamma'], 'have 1 .*blocks.0.ls1.gamma'),
        ([], ['head.weight', 'fc_norm.weight'], None),
        ([], ['blocks.2.norm1.bias'], None),  # Beyond `depth`.
    ])
def test_files_of_another_model(drop, add, message, tmp_path):
    """timm only logs them where it knows of a head in the file."""
    name = 'vit_base_patch32_clip_224.openai'
    weights = timm.create_model(name, num_classes=0, **TIMM).state_dict()
    for key in drop:
        del weights[key]
    weights.update((key, torch.zeros(32)) for key in add)
    torch.save(weights, tmp_path / 'image.pth')
    model = build(tmp_path / 'image.pth', name)
    if message is None:
        model.init_weights()
        assert torch.equal(model.model.cls_token, weights['cls_token'])
        return
    with pytest.raises(ValueError, match=message):
        model.init_weights()


def test_hub_that_cannot_be_reached(monkeypatch):
    model = MODELS.build(
        dict(type='TimmImage', model=NAME, pretrained=True, **TIMM))

    def fail(*args, pretrained, **kwargs):
        raise OSError('no network')

    monkeypatch.setattr('timm.create_model', fail)
    with pytest.raises(ValueError, match=f"weights of '{NAME}' .*; download"):
        model.init_weights()
