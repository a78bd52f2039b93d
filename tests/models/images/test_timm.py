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
    # Of this model timm lacks a head, and would not mind anything else.
    model = build(tmp_path / 'other.pth', 'vit_small_patch14_dinov2')
    model.settings['pretrained_cfg_overlay']['num_classes'] = 5
    with pytest.raises(ValueError, match='parts of the blocks are missing'):
        model.init_weights()


def test_hub_that_cannot_be_reached(monkeypatch):
    model = MODELS.build(
        dict(type='TimmImage', model=NAME, pretrained=True, **TIMM))

    def fail(*args, pretrained, **kwargs):
        raise OSError('no network')

    monkeypatch.setattr('timm.create_model', fail)
    with pytest.raises(ValueError, match=f"weights of '{NAME}' .*; download"):
        model.init_weights()
