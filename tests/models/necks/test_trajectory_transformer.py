import pytest
import torch
from image_models import IMAGES
from mmengine.config import ConfigDict

from mmaction.registry import MODELS
from projects.ila.models.necks import TrajectoryTransformer


@pytest.mark.parametrize('in_channels', [None, 16])
@torch.no_grad()
def test_equals_a_loop(in_channels):
    torch.manual_seed(0)
    neck = TrajectoryTransformer(
        32, in_channels, num_points=2, num_frames=4).eval()
    neck.init_weights()
    x, points = torch.randn(3, 4, 16), torch.randn(3, 4, 2, 2)
    expected = []
    for video, places in zip(x, points):
        tokens = []
        for number, place in enumerate(places):
            after = places[min(number + 1, 3)]
            values = [
                value for one, other in zip(place, after)
                for value in (*one, *(4 * (other - one)))
            ]
            token = neck.embedding(torch.stack(values))
            if in_channels:
                token = token + neck.frame_embedding(video[number])
            tokens.append(token + neck.pos_embed[0, number])
        out = torch.stack(tokens)[None]
        for layer in neck.layers:
            out = layer(out)
        expected.append(out[0].mean(0))
    video, losses = neck(x, points)
    torch.testing.assert_close(video, torch.stack(expected))
    assert losses == {}


def test_training_shifts_and_scales_each_video_alike():
    torch.manual_seed(0)
    points = torch.rand(2, 5, 3, 2, dtype=torch.double)
    out = TrajectoryTransformer(jitter=0.3)._disturb(points)
    for own, other in zip(points, out):
        for axis in range(2):
            slope = (other[..., axis] - other[0, 0, axis]) / (
                own[..., axis] - own[0, 0, axis])
            slope = slope.flatten()[1:]
            assert slope[0] > 0
            torch.testing.assert_close(slope, slope[:1].expand(14))
    assert not torch.allclose(out[0] - points[0], out[1] - points[1])


def build(**neck):
    return MODELS.build(
        ConfigDict(
            type='ILARecognizer',
            backbone=dict(
                type='ILABackbone',
                image=IMAGES['vit'],
                temporal=dict(
                    type='TokenAlignment',
                    predictor=dict(type='HeatMapPredictor'))),
            neck=dict(type='TrajectoryTransformer', **neck),
            cls_head=dict(
                type='ILALinearHead', num_classes=5, in_channels=128)))


def test_in_a_recognizer():
    """Both blocks' points are seen; what else is not learns nothing."""
    torch.manual_seed(0)
    model = build(num_points=2)
    model.init_weights()
    videos = torch.randn(2, 1, 3, 8, 32, 32)
    model(videos)['logits'].square().sum().backward()
    for name, parameter in model.backbone.named_parameters():
        if '.predictor.' in name:
            assert parameter.grad.abs().sum() > 0, name
    assert model.backbone.image.model.ln1.weight.grad is None


@pytest.mark.parametrize('settings, message', [
    (dict(num_points=1), 'finds 2 points.*model.neck.num_points. is 1'),
    (dict(num_points=2,
          in_channels=8), '32 channels.*`model.neck.in_channels'),
    (dict(num_points=2,
          embed_dims=100), '100 channels.*`model.neck.embed_dims` .* of 32'),
])
def test_sizes_that_do_not_fit(settings, message):
    with pytest.raises(ValueError, match=message):
        build(**settings)
