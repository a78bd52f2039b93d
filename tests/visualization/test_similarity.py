import numpy as np
import pytest
import torch
from tiny import TEMPORAL, tiny_backbone

from projects.ila.visualization import record_similarities


def cosine_by_loop(patches, points, radius, slope):
    """Cosine of one pair, patches (2, H, W, C) and points (2, 2)."""
    _, height, width, channels = patches.shape
    means = np.zeros((2, channels))
    for frame in range(2):
        for row in range(height):
            for column in range(width):
                x, y = -1 + 2 * column / (width - 1), -1 + 2 * row / (
                    height - 1)
                weight = 1
                for distance in (x - points[frame, 0], y - points[frame, 1]):
                    fall = 1 - slope * (abs(distance) - radius)
                    weight *= min(max(fall, 0), 1)
                means[frame] += weight * patches[frame, row, column]
    return means[0] @ means[1] / np.prod(np.linalg.norm(means, axis=1))


@pytest.mark.parametrize('temporal', TEMPORAL)
@torch.no_grad()
def test_similarities_equal_a_loop_and_the_loss(temporal):
    model = tiny_backbone(temporal, radius=0.3, slope=2.)
    inputs = []
    for alignment in model.alignments:
        alignment.register_forward_pre_hook(
            lambda _, args: inputs.append(args[0].double().numpy()))
    video = torch.rand(2, 3, 4, 32, 40)
    with record_similarities(model) as similarities:
        features = model(video)
    assert len(similarities) == len(inputs) == 2
    points = features.points.double().numpy()
    assert points.std() > 0.1
    for layer, found in enumerate(similarities):
        expected = [[
            cosine_by_loop(inputs[layer][video, t:t + 2],
                           points[layer, video, t], 0.3, 2.) for t in range(3)
        ] for video in range(2)]
        np.testing.assert_allclose(found, expected, atol=1e-5)
        torch.testing.assert_close(1 - found.mean(),
                                   features.align_loss[layer])


@pytest.mark.parametrize('target', ['first', 'middle'])
@torch.no_grad()
def test_similarities_of_other_targets_and_points_give_the_loss(target):
    model = tiny_backbone(target=target, num_points=3)
    with record_similarities(model) as similarities:
        features = model(torch.rand(2, 3, 4, 32, 40))
    for layer, found in enumerate(similarities):
        assert found.shape == (2, 3)
        torch.testing.assert_close(1 - found.mean(),
                                   features.align_loss[layer])


@pytest.mark.parametrize('temporal', TEMPORAL)
@torch.no_grad()
def test_blocks_that_align_nothing_have_no_similarities(temporal):
    model = tiny_backbone(temporal, layers=[1])
    with record_similarities(model) as similarities:
        features = model(torch.rand(2, 3, 4, 32, 40))
    found, = similarities
    torch.testing.assert_close(1 - found.mean(), features.align_loss.sum())


@torch.no_grad()
def test_nothing_is_recorded_after_the_context():
    model = tiny_backbone()
    video = torch.rand(1, 3, 2, 32, 32)
    with record_similarities(model) as similarities:
        model(video, with_loss=False)
    model(video)
    assert [found.shape for found in similarities] == [(1, 1)] * 2
