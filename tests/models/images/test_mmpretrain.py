"""Weights of mmpretrain's files, which `init_cfg` names."""
import copy

import pytest
import torch
import torch.nn.functional as F
from image_models import ARCH, IMAGES, stir, with_mmpretrain

from mmaction.registry import MODELS

KINDS = ['vit', 'dinov2', 'eva02']


def build_plain(kind):
    model = MODELS.build(
        dict(copy.deepcopy(IMAGES[kind]['model']), img_size=32))
    stir(model)
    return model


def write_weights(path, kind, drop=()):
    """Write a classifier of mmpretrain and give its backbone's weights."""
    weights = build_plain(kind).state_dict()
    for name in drop:
        del weights[name]
    checkpoint = {f'backbone.{name}': x for name, x in weights.items()}
    checkpoint['head.layers.head.weight'] = torch.zeros(3, 32)
    torch.save(dict(state_dict=checkpoint), path)
    return weights


def with_weights(kind, path, prefix='backbone.', img_size=32, **kwargs):
    """An adapter in a backbone, as configs have it."""
    image = copy.deepcopy(IMAGES[kind])
    image.update(img_size=img_size)
    image['model'].update(
        init_cfg=dict(type='Pretrained', checkpoint=str(path), prefix=prefix),
        **kwargs)
    return MODELS.build(dict(type='ILABackbone', image=image))


@pytest.mark.parametrize('kind', KINDS)
def test_init_cfg_takes_mmpretrains_weights(kind, tmp_path):
    path = tmp_path / 'image.pth'
    # mmpretrain's files of EVA-02 lack the last norm.
    drop = ('ln1.weight', 'ln1.bias') if kind == 'eva02' else ()
    weights = write_weights(path, kind, drop)
    model = with_weights(kind, path)
    model.init_weights()
    own = model.image.model.state_dict()
    for name, value in weights.items():
        assert torch.equal(own[name], value), name
    assert own.keys() - weights.keys() == {
        *drop, *(['register_tokens'] if kind == 'dinov2' else [])
    }


def test_init_cfg_takes_registers(tmp_path):
    path = tmp_path / 'image.pth'
    source = MODELS.build(IMAGES['dinov2'])
    stir(source)
    torch.save(source.model.state_dict(), path)
    model = with_weights('dinov2', path, prefix=None)
    model.init_weights()
    assert torch.equal(model.image.model.register_tokens,
                       source.model.register_tokens)
    plain = with_weights('vit', path, prefix=None, layer_scale_init_value=0.5)
    with pytest.raises(ValueError, match='1 that it lacks .register_tokens'):
        plain.init_weights()


@torch.no_grad()
def test_init_cfg_interpolates_positions(tmp_path):
    path = tmp_path / 'image.pth'
    weights = write_weights(path, 'vit')
    model = with_weights('vit', path, img_size=64)
    model.init_weights()
    grid = weights['pos_embed'][0, 1:].T.reshape(1, 32, 4, 4)
    expected = F.interpolate(grid, size=(8, 8), mode='bicubic')
    torch.testing.assert_close(model.image.model.pos_embed[0, 1:],
                               expected[0].flatten(1).T)


@pytest.mark.parametrize('kind, kwargs, message', [
    ('vit', dict(arch=dict(ARCH, feedforward_channels=48)),
     r"'layers.0.ffn.*is \(64.*the model's \(48.*fix the sizes"),
    ('vit', dict(arch=dict(ARCH, num_layers=1)),
     r'lack 0 .*have \d+ that it lacks \(layers.1'),
    ('vit', dict(arch=dict(ARCH, num_layers=3)),
     r'lack \d+ entries .*\(layers.2.*have 0'),
    ('vit', dict(layer_scale_init_value=0.1), 'lack 4 .*gamma'),
    ('vit', dict(prefix=None), 'lack .*fix .*`prefix`'),
    ('vit', dict(prefix='model.'), 'model. is not in .*; fix the `prefix`'),
    ('eva02', dict(img_size=48), r"rope.freqs_cos' is \(16.*weights of that"),
])
def test_weights_of_another_image_model(kind, kwargs, message, tmp_path):
    write_weights(tmp_path / 'image.pth', kind)
    model = with_weights(kind, tmp_path / 'image.pth', **kwargs)
    with pytest.raises(ValueError, match=rf'image\.pth: .*{message}') as error:
        model.init_weights()
    assert str(error.value).count('image.pth') == 1


def test_missing_weights(tmp_path):
    model = with_weights('vit', tmp_path / 'none.pth')
    with pytest.raises(FileNotFoundError, match='none.pth.* does not exist'):
        model.init_weights()


def test_out_type_leaves_no_unused_parameters():
    image = MODELS.build(with_mmpretrain(out_type='avg_featmap'))
    assert image.state_dict().keys() == MODELS.build(
        IMAGES['vit']).state_dict().keys()
