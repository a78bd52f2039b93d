"""Low-rank adaptation of every family of image models."""
import copy

import pytest
import torch
from image_models import build, with_images
from mmengine.registry import init_default_scope
from tiny import draw_weights, tiny_config

from mmaction.registry import MODELS
from projects.ila.weights import convert_all_weights


def make_videos():
    torch.manual_seed(2)
    return torch.randn(2, 3, 2, 32, 32)


@pytest.fixture(params=['clip', 'eva02', 'timm_dinov2', 'timm_eva02'])
def models(request):
    """A plain model, and one with LoRA that took its weights."""
    plain = build(request.param, None).eval()
    adapted = build(request.param, None, lora=dict(rank=3, alpha=6)).eval()
    for name, value in adapted.named_parameters():
        if name.endswith('lora_up'):
            value.data.zero_()
    adapted.load_state_dict(plain.state_dict())
    return plain, adapted


@torch.no_grad()
def test_adds_a_product(models):
    """Of plain weights nothing changes until something is learnt; then it is
    as if the products were added to the weights."""
    plain, adapted = models
    videos = make_videos()
    expected = plain(videos).frames
    assert torch.equal(adapted(videos).frames, expected)
    found = 0
    for name, module in adapted.named_modules():
        if hasattr(module, 'lora_up'):
            found += 1
            module.lora_up.normal_()
            linear = plain.get_submodule(name)
            linear.weight += 2 * module.lora_up @ module.lora_down
    assert found >= 2 * plain.num_layers
    before, expected = expected, plain(videos).frames
    assert not torch.allclose(expected, before, atol=1e-2)
    result = adapted(videos).frames
    assert torch.allclose(result, expected, atol=1e-5)

    weights = copy.deepcopy(adapted.state_dict())
    adapted.switch_to_deploy()
    assert torch.allclose(adapted(videos).frames, result, atol=1e-5)
    assert not any('lora' in name for name in adapted.state_dict())

    with pytest.raises(ValueError, match='lora'):
        plain.load_state_dict(weights)


@with_images
def test_only_lora_is_trained(image):
    model = build(image, None, lora=dict())
    trained = {
        name
        for name, value in model.named_parameters() if value.requires_grad
    }
    assert trained and all('.attn.' in name and '.lora_' in name
                           for name in trained)
    model(make_videos()).frames.square().sum().backward()
    for name, value in model.named_parameters():
        assert (value.grad is not None) == (name in trained)
        assert name not in trained or value.grad.abs().sum() > 0, name


def test_checkpoint():
    """What was trained is loaded, LoRA as well."""
    model = build('clip', lora=dict())
    other = build('clip', lora=dict())
    for value in other.parameters():
        value.data += 1
    other.load_state_dict(model.state_dict())
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name


@pytest.mark.parametrize('settings, message', [
    (dict(lora=dict(rank=0)), 'model.backbone.lora.rank'),
    (dict(lora=dict(ranks=2)), 'fix `model.backbone.lora`'),
    (dict(lora=8), 'fix `model.backbone.lora`'),
    (dict(lora=dict(), freeze_image=True), 'model.backbone.freeze_image'),
    (dict(lora=dict(), freeze_image=1), 'model.backbone.freeze_image'),
])
def test_refuses(settings, message):
    with pytest.raises(ValueError, match=message):
        build('clip', None, **settings)


def test_recognizer():
    """Training starts from plain weights; testing needs LoRA's as well."""
    init_default_scope('mmaction')
    cfg = tiny_config()
    plain = draw_weights(MODELS.build(cfg.model))
    cfg.model.backbone.lora = dict(rank=2)
    model = draw_weights(MODELS.build(cfg.model))
    for name, value in model.named_parameters():
        if name.endswith('lora_up'):
            value.data.zero_()
    model.load_state_dict(plain.state_dict())
    video = torch.randn(1, 4, 3, 32, 32)
    with torch.no_grad():
        logits, expected = (
            part(video, mode='tensor')['logits'] for part in (model, plain))
    assert torch.equal(logits, expected)
    weights = model.state_dict()
    assert convert_all_weights(model, weights, 'a.pth') == weights
    with pytest.raises(ValueError, match='lora'):
        convert_all_weights(model, plain.state_dict(), 'a.pth')
