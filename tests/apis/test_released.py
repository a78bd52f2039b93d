import pytest
import torch
from reference import NAMES, load_reference

from projects.ila.apis import load_released, released_arrays


@pytest.mark.parametrize('deployed', [False, True])
@pytest.mark.parametrize('name', NAMES)
def test_reproduces_released_arrays(name, deployed):
    info, state_dict, video, expected = load_reference(name)
    model = load_released(state_dict, name.split('_')[0], info['class_names'])
    if deployed:
        model.backbone.switch_to_deploy()
    arrays = released_arrays(model, video)
    assert arrays.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(
            arrays[key].to(value.dtype),
            value,
            rtol=0,
            atol=1e-4 * value.abs().max().item(),
            msg=lambda text: f'{key}: {text}')


def test_views_of_the_preprocessor_give_the_same():
    info, state_dict, video, expected = load_reference('k400_tiny_t4_s0')
    model = load_released(state_dict, 'k400', info['class_names'])
    with torch.no_grad():
        # One video in two views: (1, 2, 3, T, H, W).
        arrays = model(video.transpose(1, 2)[None])
    torch.testing.assert_close(
        arrays['logits'], expected['logits'], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('variant, message', [
    ('ssv2', r"no released 'ssv2' weights: 'mit\.classify_head\.2\.weight'"),
    ('k600', "variant must be one of .* got 'k600'"),
])
def test_wrong_variant(variant, message):
    _, state_dict, _, _ = load_reference('k400_tiny_t4_s0')
    with pytest.raises(ValueError, match=message):
        load_released(state_dict, variant)
