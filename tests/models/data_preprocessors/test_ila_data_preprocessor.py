"""Against torchvision, clip by clip."""
import pytest
import torch
from torchvision import transforms
from torchvision.transforms import functional

from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from projects.ila.models.data_preprocessors import (ClipColorJitter,
                                                    ClipTorchVision,
                                                    ILADataPreprocessor,
                                                    clip_augments)

JITTER = dict(brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1)
SHAPES = [(12, 1, 3, 4, 16, 12), (12, 2, 3, 4, 16, 12), (12, 5, 3, 16, 12)]


def draw_clips(shape):
    """Draw noise, with some grey, black and saturated areas."""
    torch.manual_seed(0)
    clips = torch.randint(0, 256, shape, dtype=torch.uint8)
    clips[0] = clips[0, :, :1]
    clips[1] = 0
    clips[2, :, 0] = 255
    clips[3, :, 1:] = 0
    return clips


def apply_per_clip(function, clips):
    """Apply a function of ``(..., C, H, W)`` to one clip after the other."""
    return torch.stack([
        function(clip.movedim(1, -3), number).movedim(-3, 1)
        for number, clip in enumerate(clips)
    ])


def assert_same(actual, expected):
    """All but a few values are equal, those on the edge of two levels."""
    assert actual.dtype == expected.dtype == torch.uint8
    difference = (actual.int() - expected.int()).abs()
    assert difference.max() <= 1
    assert difference.float().mean() < 0.02


@pytest.mark.parametrize('name, low, high', [('brightness', 0., 3.),
                                             ('contrast', 0., 3.),
                                             ('saturation', 0., 3.),
                                             ('hue', -0.5, 0.5)])
@pytest.mark.parametrize('shape', SHAPES)
def test_operations(name, low, high, shape):
    clips = draw_clips(shape)
    factors = torch.linspace(low, high, len(clips))
    adjust = getattr(functional, f'adjust_{name}')
    expected = apply_per_clip(
        lambda frames, number: adjust(frames, factors[number].item()), clips)
    factors = factors.view(-1, *[1] * (clips.dim() - 1))
    adjust = getattr(clip_augments, f'adjust_{name}')
    assert_same(adjust(clips, factors), expected)


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('settings', [
    dict(JITTER, p=0.8),
    dict(JITTER, p=1.),
    dict(p=1., contrast=(0.2, 0.9)),
    dict(p=0.3, brightness=0.9, hue=(-0.5, 0.5))
])
def test_jitter_draws_and_gives_what_torchvision_does(settings, shape):
    clips = draw_clips(shape)
    before = clips.clone()
    torch.manual_seed(1)
    actual = ClipColorJitter(**settings)(clips)
    settings = dict(settings)
    jitter = transforms.RandomApply([
        transforms.ColorJitter(
            **{name: settings.get(name, 0.)
               for name in JITTER})
    ], settings['p'])
    torch.manual_seed(1)
    expected = apply_per_clip(lambda frames, _: jitter(frames), clips)
    # Small differences grow with the next operation.
    difference = (actual.int() - expected.int()).abs()
    assert difference.max() <= 3
    assert difference.float().mean() < 0.05
    changed = (actual != before).flatten(1).any(1)
    torch.testing.assert_close(changed, (expected != before).flatten(1).any(1))
    assert (clips == before).all()


@pytest.mark.parametrize('shape', SHAPES)
def test_transforms_of_torchvision(shape):
    clips = draw_clips(shape)
    settings = dict(p=0.5, value=(1, 2, 3))
    torch.manual_seed(1)
    actual = ClipTorchVision('RandomErasing', **settings)(clips)
    erase = transforms.RandomErasing(**settings)
    torch.manual_seed(1)
    expected = apply_per_clip(lambda frames, _: erase(frames), clips)
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)
    assert 0 < (actual != clips).flatten(1).any(1).sum() < len(clips)


def test_unknown_transform():
    with pytest.raises(ValueError, match="has no 'RandomErase'; fix `op`"):
        ClipTorchVision('RandomErase')


AUGMENTS = [
    dict(type='ClipColorJitter', p=1., **JITTER),
    dict(type='ClipTorchVision', op='RandomGrayscale', p=0.5)
]
NORM = dict(mean=[10., 20., 30.], std=[2., 4., 8.], format_shape='NCTHW')


def test_clips_are_augmented_in_training_only_before_normalisation():
    preprocessor = MODELS.build(
        dict(type='ILADataPreprocessor', augments=AUGMENTS, **NORM))
    clips = draw_clips(SHAPES[0])

    def run(training):
        torch.manual_seed(2)
        return preprocessor(
            dict(
                inputs=list(clips),
                data_samples=[ActionDataSample() for _ in clips]),
            training=training)['inputs']

    mean, std = (
        torch.tensor(NORM[name]).view(3, 1, 1, 1) for name in ('mean', 'std'))
    torch.testing.assert_close(run(False), (clips - mean) / std)
    torch.manual_seed(2)
    expected = clips
    for augment in AUGMENTS:
        expected = MODELS.build(augment)(expected)
    assert (expected != clips).any()
    torch.testing.assert_close(run(True), (expected - mean) / std)


def test_what_cannot_be_augmented_is_refused():
    clips = draw_clips(SHAPES[0])
    for to_rgb, inputs, reason in ((True, clips, 'take RGB; remove `to_rgb`'),
                                   (False, clips.float(), 'take uint8')):
        preprocessor = ILADataPreprocessor(AUGMENTS, to_rgb=to_rgb, **NORM)
        preprocessor.preprocess(list(inputs), None)
        with pytest.raises(ValueError, match=reason):
            preprocessor.preprocess(list(inputs), None, training=True)
