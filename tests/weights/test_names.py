import pytest
import torch
from archives import clip_of, hugging_face_of
from reference import NAMES, load_reference, number_weights
from timm.models.vision_transformer import _convert_openai_clip

from projects.ila.weights import (convert_clip, convert_released,
                                  convert_to_ila, revert_released)


@pytest.mark.parametrize('name', NAMES)
def test_released_names_and_shapes_come_back(name):
    released = number_weights(name)
    converted = convert_released(released)
    assert all(
        key.startswith(('backbone.', 'neck.', 'cls_head.'))
        for key in converted)
    reverted = revert_released(converted)
    assert reverted.keys() == released.keys()
    for key, value in released.items():
        assert reverted[key].shape == value.shape, key
        assert torch.equal(reverted[key], value), key


def test_hugging_face_names_give_the_same_as_openai_names():
    clip = clip_of(load_reference('k400_tiny_t4_s0')[1])
    expected = convert_clip(clip)
    converted = convert_to_ila(hugging_face_of(clip))
    assert converted.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(converted[key], value), key


def test_hugging_face_attention_must_be_whole():
    weights = hugging_face_of(clip_of(load_reference('k400_tiny_t4_s0')[1]))
    del weights['vision_model.encoder.layers.1.self_attn.k_proj.bias']
    with pytest.raises(ValueError, match='lack .*layers.1.*k_proj.bias'):
        convert_to_ila(weights)


def test_timm_names_give_the_same_as_openai_names():
    """timm converts CLIP's files itself."""
    clip = clip_of(load_reference('k400_tiny_t4_s0')[1])
    expected = {
        name: value
        for name, value in convert_clip(clip).items()
        if name.startswith('backbone.')
    }
    weights = _convert_openai_clip(clip, None)
    converted = convert_to_ila(weights)
    assert converted.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(converted[key], value), key
    # A classifier of images is no projection.
    weights['head.bias'] += 1
    assert convert_to_ila(weights) is weights


def test_own_names_stay():
    weights = {'backbone.image.model.cls_token': torch.zeros(1, 1, 4)}
    assert convert_to_ila(weights) is weights
