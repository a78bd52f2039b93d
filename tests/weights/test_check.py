import pytest
import torch
import torch.nn.functional as F
from archives import clip_of
from mmengine.runner import load_checkpoint
from reference import load_reference

from mmaction.registry import MODELS
from projects.ila.apis import load_released
from projects.ila.weights import check_weights, convert_clip, convert_released
from projects.ila.weights.check import check_finite


@pytest.fixture(scope='module')
def released():
    info, state_dict, _, _ = load_reference('k400_tiny_t4_s0')
    return info, state_dict


def build(released, cls_head=None, arch=dict(), **kwargs):
    info, state_dict = released
    model = load_released(state_dict, 'k400', info['class_names'])
    kwargs.setdefault('img_size', 64)
    return MODELS.build(
        dict(
            type='ILARecognizer',
            backbone=dict(
                type='ILAVisionTransformer',
                arch={
                    **model.backbone.image.arch_settings,
                    **arch
                },
                **kwargs),
            neck=dict(
                type='MultiframeIntegrationTransformer',
                embed_dims=64,
                num_frames=8),
            cls_head=cls_head
            or dict(type='ILALinearHead', num_classes=5, in_channels=64)))


TEXT_HEAD = dict(
    type='ILATextHead',
    in_channels=64,
    patch_channels=128,
    class_names=['run', 'jump'],
    text_encoder=dict(layers=2))


def test_other_head_and_number_of_frames_are_fine_for_training(released):
    weights = convert_released(released[1])
    model = build(released, temporal=dict(type='ReleasedAlignment'))
    model.load_state_dict(weights, strict=False)
    assert torch.equal(model.backbone.image.model.cls_token,
                       weights['backbone.image.model.cls_token'])
    torch.testing.assert_close(
        model.neck.pos_embed.transpose(1, 2),
        F.interpolate(
            weights['neck.pos_embed'].transpose(1, 2), size=8, mode='linear'))
    with pytest.raises(ValueError, match='take the config that the weights'):
        check_weights(model.state_dict(), weights, partial=False)


SEPARABLE, DENSE = (
    dict(predictor=dict(stem=stem)) for stem in ('separable', 'dense'))


@pytest.mark.parametrize('kwargs, message', [
    (dict(temporal=dict(type='TokenAlignment')),
     'message_fc, message_ln, skip.* that the model lacks, and lack none; fix '
     "`model.backbone.temporal.type='ReleasedAlignment'"),
    (dict(
        temporal=dict(type='ReleasedAlignment'),
        arch=dict(feedforward_channels=64)), r'ffn.*fix `arch` and the sizes'),
    (dict(temporal=dict(type='ReleasedAlignment'), arch=dict(num_layers=4)),
     r'lack \d+ entries that the model needs \(backbone.image.model.layers.3'),
    (dict(temporal=dict(type='ReleasedAlignment'), arch=dict(num_layers=2)),
     r'have \d+ that it lacks \(backbone.image.model.layers.2'),
    (dict(temporal=dict(type='ReleasedAlignment', **DENSE)),
     r'alignment.predictor.interaction.*fix `model.backbone`'),
    (dict(temporal=None),
     'message_ln.* that the model lacks, and lack none; fix'),
])
def test_other_module_or_size_is_refused(released, kwargs, message):
    weights = convert_released(released[1])
    with pytest.raises(ValueError, match=message):
        build(released, **kwargs).load_state_dict(weights, strict=False)


def test_integers_are_no_weights(released):
    model = build(released)
    weights = model.state_dict()
    name = 'backbone.image.proj.weight'
    weights[name] = weights[name].int()
    with pytest.raises(ValueError, match=f"'{name}' are torch.int32, which"):
        model.load_state_dict(weights)


COMPARISONS = [
    f'projects.ila.models.temporal.comparisons.{name}'
    for name in ('DividedAttention', 'MessageToken')
]


@pytest.mark.parametrize('kind', COMPARISONS)
def test_temporal_weights_are_not_taken_for_clips(released, kind):
    weights = build(released, temporal=dict(type=kind)).state_dict()
    with pytest.raises(
            ValueError,
            match='_attn.* that the model lacks, and lack alignment'):
        build(
            released, temporal=dict(type='TokenAlignment')).load_state_dict(
                weights, strict=False)


def test_released_ssv2_weights_are_refused_by_a_text_model(released):
    weights = load_reference('ssv2_tiny_t4_s0')[1]
    for alignment in (SEPARABLE, DENSE):
        model = build(
            released,
            cls_head=TEXT_HEAD,
            temporal=dict(type='ReleasedAlignment', **alignment))
        with pytest.raises(ValueError, match='weights lack .* (fix|take)'):
            model.load_state_dict(weights, strict=False)


@pytest.fixture(scope='module')
def clip(released):
    return dict(clip_of(released[1]), input_resolution=torch.tensor(64))


@pytest.mark.parametrize('settings', [
    *(dict(temporal=dict(type=kind))
      for kind in ('TokenAlignment', *COMPARISONS)),
    dict(temporal=None),
    dict(layers=[1]),
])
def test_clip_file_fills_all_but_what_it_lacks(released, clip, tmp_path,
                                               settings):
    torch.save(clip, tmp_path / 'clip.pt')
    model = build(released, **settings)
    model.init_weights()
    before = {
        name: value.clone()
        for name, value in model.state_dict().items()
    }
    # As the Runner loads `load_from`.
    load_checkpoint(model, str(tmp_path / 'clip.pt'), map_location='cpu')
    expected = convert_clip(clip)
    for name, value in model.state_dict().items():
        own = name.startswith(('neck.', 'cls_head.', 'backbone.temporal.'))
        assert own == (name not in expected), name
        assert torch.equal(value, (before if own else expected)[name]), name


@pytest.mark.parametrize('arch, message', [
    (dict(patch_size=8), r'patch_embed.*fix `arch`'),
    (dict(num_layers=2),
     r'have \d+ that it lacks \(backbone.image.model.layers.2'),
    (dict(num_layers=4),
     r'lack \d+ entries .*\(backbone.image.model.layers.3'),
])
def test_clip_of_another_size_is_refused(released, clip, tmp_path, arch,
                                         message):
    torch.save(clip, tmp_path / 'clip.pt')
    with pytest.raises(ValueError, match=rf'clip\.pt: .*{message}'):
        load_checkpoint(build(released, arch=arch), str(tmp_path / 'clip.pt'))


def test_text_tower_is_needed_by_a_text_head(released, clip):
    vision = {
        name: value
        for name, value in clip.items() if name.startswith('visual.')
    }
    build(released).load_state_dict(vision, strict=False)
    model = build(released, cls_head=TEXT_HEAD)
    with pytest.raises(ValueError, match="hold CLIP's text tower too"):
        model.load_state_dict(vision, strict=False)


@pytest.mark.parametrize('weights', [dict(), dict(model=dict())])
def test_weights_of_something_else_are_refused(released, weights):
    with pytest.raises(ValueError, match='no name in common'):
        build(released).load_state_dict(weights, strict=False)


@pytest.mark.parametrize('value', [
    torch.zeros(2, device='meta'),
    torch.ones(2).to_sparse(),
    torch.quantize_per_tensor(torch.ones(2), 1., 0, torch.qint8),
    torch.ones(1).expand(2**50),
    torch.nested.nested_tensor([torch.ones(1), torch.ones(2)]),
    torch.ones(2, dtype=torch.complex64),
])
def test_weights_that_cannot_be_looked_at_are_refused(value):
    with pytest.raises(ValueError, match=r'\(a\) are quantised, sparse, '):
        check_finite(dict(a=value))


def test_weights_of_every_number_of_bits_are_looked_at():
    types = (torch.float8_e5m2, torch.float16, torch.bfloat16, torch.float32,
             torch.float64)
    for dtype in types:
        check_finite(dict(a=torch.ones(2).to(dtype)))
        with pytest.raises(ValueError, match='NaN'):
            check_finite(dict(a=torch.tensor([1., float('nan')]).to(dtype)))


def test_numbers_that_the_model_cannot_hold(released):
    model = build(released, temporal=dict(type='ReleasedAlignment'))
    weights = {
        name: value.double() * 1e200 if value.is_floating_point() else value
        for name, value in convert_released(released[1]).items()
    }
    with pytest.raises(ValueError, match='NaN or infinite values'):
        model.load_state_dict(weights, strict=False)
