import pytest
import torch
from mmengine.runner import load_checkpoint
from reference import load_reference

from mmaction.registry import MODELS
from projects.ila.apis import load_released
from projects.ila.utils import check_weights, convert_clip, convert_released


@pytest.fixture(scope='module')
def released():
    info, state_dict, _, _ = load_reference('k400_tiny_t4_s0')
    return info, state_dict


def build(released, **kwargs):
    info, state_dict = released
    model = load_released(state_dict, 'k400', info['class_names'])
    arch = {**model.backbone.arch_settings, **kwargs.pop('arch', {})}
    return MODELS.build(
        dict(
            type='ILARecognizer',
            backbone=dict(
                type='ILAVisionTransformer', arch=arch, img_size=64, **kwargs),
            neck=dict(
                type='MultiframeIntegrationTransformer',
                embed_dims=64,
                num_frames=8),
            cls_head=dict(type='ILALinearHead', num_classes=5,
                          in_channels=64)))


def test_other_head_and_number_of_frames_are_fine_for_training(released):
    weights = convert_released(released[1], 'separable')
    model = build(released, form='released')
    model.load_state_dict(weights, strict=False)
    assert torch.equal(model.backbone.cls_token, weights['backbone.cls_token'])
    assert model.neck.pos_embed.shape == (1, 8, 64)
    with pytest.raises(ValueError, match='take the config that the weights'):
        check_weights(model, weights, partial=False)


@pytest.mark.parametrize('kwargs, message', [
    (dict(form='token'), "form 'released', the model has 'token'"),
    (dict(form='released', arch=dict(feedforward_channels=64)),
     r'ffn.*mend `arch` and the sizes'),
])
def test_other_form_or_size_is_refused(released, kwargs, message):
    weights = convert_released(released[1], 'separable')
    with pytest.raises(ValueError, match=message):
        build(released, **kwargs).load_state_dict(weights, strict=False)


@pytest.fixture(scope='module')
def clip(released):
    """A plain CLIP: the released keys less those of ILA's modules."""
    own = ('message', 'temporal', 'mit.', 'prompts')
    weights = {
        name: value
        for name, value in released[1].items()
        if not any(part in name for part in own)
    }
    return dict(weights, input_resolution=torch.tensor(64))


def test_clip_file_fills_all_but_ilas_own_parts(released, clip, tmp_path):
    torch.save(clip, tmp_path / 'clip.pt')
    model = build(released)
    model.init_weights()
    before = {
        name: value.clone()
        for name, value in model.state_dict().items()
    }
    # As the Runner loads `load_from`.
    load_checkpoint(model, str(tmp_path / 'clip.pt'), map_location='cpu')
    expected = convert_clip(clip)
    for name, value in model.state_dict().items():
        own = 'alignment' in name or name.startswith(('neck', 'cls_head'))
        assert own == (name not in expected), name
        assert torch.equal(value, (before if own else expected)[name]), name


def test_clip_of_another_size_is_refused(released, clip):
    model = build(released, arch=dict(patch_size=8))
    with pytest.raises(ValueError, match=r'patch_embed.*mend `arch`'):
        model.load_state_dict(clip, strict=False)


@pytest.mark.parametrize('weights', [dict(), dict(model=dict())])
def test_weights_of_something_else_are_refused(released, weights):
    with pytest.raises(ValueError, match='no name in common'):
        build(released).load_state_dict(weights, strict=False)
