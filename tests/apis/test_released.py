import copy
import re

import pytest
import torch
from commands import ROOT
from mmengine.config import Config
from reference import NAMES, load_reference

from mmaction.registry import MODELS
from projects.ila.apis import load_released, released_arrays, released_to_ila

BATCH_STATISTICS = 'video_batch_statistics'
CONFIGS = dict(
    k400_b32_t8_s0='ila_vitb32_k400', ssv2_b32_t8_s0='ila_vitb16_ssv2')
# A pass of these takes as long as those of all others.
LARGE = ('k400_b16_t8_s7', 'ssv2_b16_t16_s7')


def check_arrays(model, video, expected):
    arrays = released_arrays(model, video)
    assert arrays.keys() == expected.keys() - {BATCH_STATISTICS}
    for key, value in arrays.items():
        check_close(key, value, expected[key])


def check_close(key, value, expected):
    torch.testing.assert_close(
        value.to(expected.dtype),
        expected,
        rtol=0,
        atol=1e-4 * expected.abs().max().item(),
        msg=lambda text: f'{key}: {text}')


@pytest.mark.parametrize('name',
                         [x for x in NAMES if x not in (*LARGE, *CONFIGS)])
def test_reproduces_released_arrays(name):
    info, state_dict, video, expected = load_reference(name)
    model = load_released(state_dict, class_names=info['class_names'])
    check_arrays(model, video, expected)
    model.switch_to_deploy()
    assert model.backbone.deployed
    check_arrays(model, video, expected)


@pytest.mark.parametrize('name', LARGE)
@torch.no_grad()
def test_reproduces_released_arrays_of_large_models(name):
    """The disturbance with the first two blocks alone."""
    info, state_dict, video, expected = load_reference(name)
    names = info.get('class_names')
    arrays = load_released(state_dict, class_names=names)(video)
    if 'ssv2' in name:
        arrays['video'] = arrays['logits']
    assert expected.keys() - arrays.keys() - {BATCH_STATISTICS} == {
        'video_disturbed', 'cos_loss_disturbed'
    }
    for key, value in arrays.items():
        check_close(key, value, expected[key])
    first = {
        name: value
        for name, value in state_dict.items()
        if not re.match(r'visual\.transformer\.resblocks\.([2-9]|1\d)\.', name)
    }
    model = load_released(first, class_names=names)
    loss = model(video, disturb=True)['cos_loss']
    assert loss.shape == (2, )
    check_close('cos_loss_disturbed', loss, expected['cos_loss_disturbed'][:2])


@pytest.mark.parametrize('name', CONFIGS)
def test_configs_of_full_size_reproduce_released_arrays(name, tmp_path):
    info, state_dict, video, expected = load_reference(name)
    cfg = Config.fromfile(ROOT / f'configs/released/{CONFIGS[name]}.py').model
    cfg.backbone.arch = 'clip-b/32'
    if 'k400' in name:
        cfg.cls_head.class_names = info['class_names']
    torch.save(dict(model=state_dict), tmp_path / 'a.pth')
    checkpoint, _ = released_to_ila(cfg, str(tmp_path / 'a.pth'))
    model = MODELS.build(cfg).eval()
    model.load_state_dict(checkpoint['state_dict'])
    check_arrays(model, video, expected)
    # Without a config, the same model is found from the weights.
    own = load_released(state_dict, class_names=info['class_names'])
    for part in ('backbone', 'neck', 'cls_head'):
        assert str(getattr(own, part)) == str(getattr(model, part))
    weights = model.state_dict()
    for key, value in own.state_dict().items():
        if key != 'cls_head.text_features':  # Computed when it is needed.
            assert torch.equal(value, weights[key]), key


@pytest.mark.parametrize('name', ['k400_tiny14_t4_s2', 'k400_tiny16_t8_s3'])
def test_reproduces_released_validation(name):
    info, state_dict, video, expected = load_reference(name)
    model = load_released(state_dict, class_names=info['class_names'])
    model.test_cfg = dict(batch_statistics=True)
    model.switch_to_deploy()  # Changes nothing here.
    before = copy.deepcopy(dict(model.named_buffers()))
    with torch.no_grad():
        video_feature = model(video)['video']
    check_close(BATCH_STATISTICS, video_feature, expected[BATCH_STATISTICS])
    # The features differ from those with the running statistics, which move.
    assert not torch.allclose(video_feature, expected['video'], atol=1e-3)
    moved = [
        name for name, value in model.named_buffers() if
        name.endswith('running_mean') and not torch.equal(value, before[name])
    ]
    # Three blocks with five normalisations each.
    assert len(moved) == 15
    assert not any(module.training for module in model.modules())


def test_dense_first_layer_of_kinetics():
    """The first release for Kinetics-400 had the dense layer of SSv2's."""
    info, kinetics, video, _ = load_reference('k400_tiny_t4_s0')
    _, ssv2, _, expected = load_reference('ssv2_tiny_t4_s0')
    state_dict = {
        **{
            k: v
            for k, v in kinetics.items() if '.message_attn.' not in k
        },
        **{
            k: v
            for k, v in ssv2.items() if '.message_attn.' in k
        }
    }
    model = load_released(state_dict, 'k400', info['class_names'])
    arrays = released_arrays(model, video)
    for key in ('points', 'cos_loss', 'cos_loss_disturbed'):
        check_close(key, arrays[key], expected[key])


def test_unused_classes_of_ssv2():
    """The release builds the head with 400 rows for 174 classes."""
    _, state_dict, video, _ = load_reference('ssv2_tiny_t4_s0')
    weight, bias = torch.randn(400, 64), torch.randn(400)
    state_dict.update({
        'mit.classify_head.2.weight': weight,
        'mit.classify_head.2.bias': bias
    })
    logits = load_released(state_dict)(video)['logits']
    state_dict.update({
        'mit.classify_head.2.weight': weight[:174],
        'mit.classify_head.2.bias': bias[:174]
    })
    assert torch.equal(logits, load_released(state_dict)(video)['logits'])


def test_views_of_the_preprocessor_give_the_same():
    info, state_dict, video, expected = load_reference('k400_tiny_t4_s0')
    model = load_released(state_dict, 'k400', info['class_names'])
    with torch.no_grad():
        # One video in two views: (1, 2, 3, T, H, W).
        arrays = model(video.transpose(1, 2)[None])
    torch.testing.assert_close(
        arrays['logits'], expected['logits'], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('variant, message', [
    ('ssv2',
     r"no released weights of 'ssv2': 'mit\.classify_head\.2\.weight'"),
    ('k600', "variant must be one of .* got 'k600'"),
])
def test_wrong_variant(variant, message):
    _, state_dict, _, _ = load_reference('k400_tiny_t4_s0')
    with pytest.raises(ValueError, match=message):
        load_released(state_dict, variant)


@pytest.mark.parametrize(
    'name', ['visual.proj', 'mit.positional_embedding', 'text_projection'])
def test_incomplete_weights(name):
    _, state_dict, _, _ = load_reference('k400_tiny_t4_s0')
    state_dict = {key: state_dict[key] for key in state_dict if key != name}
    with pytest.raises(ValueError, match=f"lack .'{name}'.; give all"):
        load_released(state_dict)


def test_linear_heads_have_no_names():
    _, state_dict, _, _ = load_reference('ssv2_tiny_t4_s0')
    with pytest.raises(ValueError, match='leave out `class_names`'):
        load_released(state_dict, class_names=['a', 'b'])
