import pytest
import torch
import torch.nn.functional as F
from alignment_loops import PAIRS, align_by_loop, spread_points

from projects.ila.models.temporal import ReleasedAlignment


@pytest.mark.parametrize('stem', ['separable', 'dense'])
@pytest.mark.parametrize('target, frames', PAIRS)
@torch.no_grad()
def test_equals_a_loop(target, frames, stem):
    torch.manual_seed(0)
    module = ReleasedAlignment(
        8,
        1,
        target=target,
        predictor=dict(stem=stem, channels=12, hidden_channels=6)).eval()
    spread_points(module)
    video, classes = torch.randn(frames, 9, 10, 8), torch.randn(frames, 8)
    patches, message = (
        F.layer_norm(module.message_fc(x), (8, )) for x in (video, classes))
    points, loss, means = align_by_loop(module.alignment, patches,
                                        PAIRS[target, frames])
    assert points.std() > 0.1
    weights = module.temporal_conv.weight[..., 0].unbind(-1)
    expected = []
    for t in range(frames):
        x = module.temporal_conv.bias
        for weight, near in zip(weights, (t - 1, t, t + 1)):
            if 0 <= near < frames:
                x = x + means[near][2] @ weight.T
        aligned = patches[t] * means[t][1][..., None]
        expected.append(
            module.skip_fc(module.temporal_fc(x)) +
            module.skip_align_fc(aligned))
    skipped = module.skip_fc(message) + module.skip_align_fc(message)
    for deployed in (False, True):
        if deployed:
            module.switch_to_deploy()
        change = module(video[None], classes[None])
        assert change.token is None
        torch.testing.assert_close(
            change.patches[0], torch.stack(expected), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(
            change.class_token[0], skipped, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(change.points[0], points)
        torch.testing.assert_close(change.loss, loss)


def test_predictor_takes_other_widths():
    predictor = dict(channels=12, hidden_channels=10)
    module = ReleasedAlignment(32, 2, predictor=predictor)
    shapes = {
        name: tuple(parameter.shape)
        for name, parameter in module.named_parameters()
        if 'conv.weight' in name or 'temporal_fc.weight' in name
        or 'point.0.weight' in name
    }
    assert shapes == {
        'alignment.predictor.interaction.0.depthwise_conv.conv.weight':
        (64, 1, 3, 3),
        'alignment.predictor.interaction.0.pointwise_conv.conv.weight':
        (12, 64, 1, 1),
        'alignment.predictor.interaction.1.conv.weight': (12, 12, 3, 3),
        'alignment.predictor.reduction.conv.weight': (10, 12, 3, 3),
        'alignment.predictor.prediction.conv.weight': (10, 10, 3, 3),
        'alignment.predictor.point.0.weight': (64, 5, 1, 1),
        'temporal_conv.weight': (6, 6, 3, 1),
        'temporal_fc.weight': (32, 6),
    }


def test_other_predictor_is_refused():
    with pytest.raises(
            ValueError, match='HeatMapPredictor.*remove `type` from `model.b'):
        ReleasedAlignment(8, 1, predictor=dict(type='HeatMapPredictor'))
