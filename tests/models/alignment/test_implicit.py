import itertools

import pytest
import torch
from alignment_loops import spread_points

from projects.ila.models.alignment import ImplicitAlignment, soft_mask


def pool_by_loop(patches, masks):
    """Aligned features of each pair of one video, patch by patch."""
    pooled = torch.zeros(len(masks), 2, patches.shape[-1])
    for pair, i in itertools.product(range(len(masks)), range(2)):
        for row, column in itertools.product(*map(range, masks.shape[2:])):
            pooled[pair, i] += (
                masks[pair, i, row, column] * patches[pair + i, row, column] /
                masks[0, 0].numel())
    return pooled


@pytest.mark.parametrize('motion_loss', [False, True])
def test_pool_and_loss_equal_loops(motion_loss):
    torch.manual_seed(0)
    patches, masks = torch.randn(2, 4, 3, 5, 6), torch.rand(2, 3, 2, 3, 5)
    alignment = ImplicitAlignment(6, motion_loss=motion_loss)
    pooled = alignment.pool(patches, masks)
    loss = 0.
    for video in range(2):
        expected = pool_by_loop(patches[video], masks[video])
        torch.testing.assert_close(pooled[video], expected)
        if motion_loss:
            still = sum(patches[video]) / 4
            expected = pool_by_loop(patches[video] - still, masks[video])
        for earlier, later in expected:
            cosine = earlier @ later / (earlier.norm() * later.norm())
            loss += (1 - cosine) / 6
    torch.testing.assert_close(alignment.loss(patches, masks, pooled), loss)
    torch.testing.assert_close(alignment.loss(patches, masks), loss)


def test_motion_loss_does_not_see_what_stays():
    torch.manual_seed(0)
    alignment = ImplicitAlignment(8, motion_loss=True)
    video, still = torch.randn(2, 4, 7, 7, 8), torch.randn(2, 1, 7, 7, 8)
    _, points, masks = alignment(video, disturb=False)
    loss = alignment.loss(video, masks)
    torch.testing.assert_close(alignment.loss(video + still, masks), loss)
    alignment.motion_loss = False
    assert torch.equal(alignment(video, disturb=False)[1], points)
    other = alignment.loss(video, masks)
    assert (alignment.loss(video + still, masks) - other).abs() > 0.01


@torch.no_grad()
def test_halves_of_the_last_layer_are_the_frames():
    torch.manual_seed(0)
    alignment = ImplicitAlignment(8, num_points=3).eval()
    spread_points(alignment)
    patches = torch.randn(2, 4, 5, 6, 8)
    points = alignment(patches)[1]
    assert points.shape == (2, 3, 2, 3, 2)
    assert points.std() > 0.1
    for parameter in alignment.predictor.point[-1].parameters():
        parameter[:6] = 0
    moved = alignment(patches)[1]
    assert not moved[:, :, 0].any()
    assert torch.equal(moved[:, :, 1], points[:, :, 1])


def test_every_one_of_several_points_learns():
    torch.manual_seed(0)
    alignment = ImplicitAlignment(8, num_points=2)
    patches = torch.randn(2, 4, 7, 7, 8)
    alignment.pool(patches, alignment(patches)[2]).square().sum().backward()
    assert alignment.predictor.point[-1].weight.grad.flatten(1).any(1).all()


def test_disturbance_follows_training_and_its_scale():
    torch.manual_seed(0)
    alignment = ImplicitAlignment(8).eval()
    patches = torch.randn(1, 3, 8, 8, 8)
    _, points, plain = alignment(patches)
    disturbed = alignment(patches, disturb=True)[2]
    torch.testing.assert_close(plain, soft_mask(points, (8, 8)))
    torch.testing.assert_close(disturbed,
                               soft_mask(points, (8, 8), disturbance=0.2))
    assert not torch.allclose(plain, disturbed)
    alignment.train()
    alignment.predictor.eval()  # the same points again
    assert torch.equal(alignment(patches)[2], disturbed)
    alignment.disturbance_scale = 0.25
    torch.testing.assert_close(
        alignment(patches)[2], soft_mask(points, (8, 8), disturbance=0.05))
    alignment.disturbance = 0.
    assert torch.equal(alignment(patches)[2], plain)


@pytest.mark.parametrize('key, value', [
    ('target', 'last'),
    ('num_points', 0),
    ('num_points', 1.5),
])
def test_bad_arguments(key, value):
    with pytest.raises(
            ValueError,
            match=f"{key} must be.*'{value}'; fix "
            f'`model.backbone.temporal.{key}`'):
        ImplicitAlignment(8, **{key: value})
