import itertools

import pytest
import torch
from torch import nn

from projects.ila.models.common.alignment import (ImplicitAlignment,
                                                  InteractivePointPredictor,
                                                  halve, merge_neighbours,
                                                  soft_mask)


def mask_by_loop(point, size, radius=0.25, slope=1.5):
    """Soft mask of one point, patch by patch."""
    mask = torch.zeros(size)
    for row, column in itertools.product(*map(range, size)):
        weight = 1.
        for index, length, centre in ((row, size[0], point[1]),
                                      (column, size[1], point[0])):
            position = -1 + 2 * index / (length - 1) if length > 1 else 0.
            distance = abs(position - centre)
            if distance > radius:
                weight *= max(0., 1 - slope * (distance - radius))
        mask[row, column] = weight
    return mask


@pytest.mark.parametrize('size', [(7, 7), (4, 9), (1, 5)])
def test_soft_mask_equals_loop(size):
    points = torch.rand(6, 2, generator=torch.manual_seed(0)) * 1.5 - 0.75
    expected = torch.stack([mask_by_loop(p, size) for p in points.tolist()])
    torch.testing.assert_close(soft_mask(points, size), expected)


def test_disturbed_mask_is_mean_of_nine():
    point, size = (0.3, -0.6), (6, 8)
    nine = [
        mask_by_loop((point[0] + x, point[1] + y), size, 0.3, 2.)
        for x, y in itertools.product((-0.2, 0, 0.2), repeat=2)
    ]
    torch.testing.assert_close(
        soft_mask(torch.tensor(point), size, 0.3, 2., 0.2),
        torch.stack(nine).mean(0))


def test_mask_is_highest_where_x_and_y_say():
    mask = soft_mask(torch.tensor([0.7, -0.7]), (9, 9))
    assert divmod(mask.argmax().item(), 9) == (1, 6)  # the first of a plateau
    assert mask[-1].max() == 0 and mask[:, 0].max() == 0


def test_merge_neighbours():
    # Two values of each of three pairs.
    pairs = torch.tensor([[[1., 2.], [4., 8.], [16., 32.]]])
    assert merge_neighbours(pairs).tolist() == [[1., 3., 12., 32.]]
    assert merge_neighbours(pairs[:, :1]).tolist() == [[1., 2.]]


@pytest.mark.parametrize('size, pooled', [((14, 7), (7, 3)), ((3, 1), (1, 1))])
def test_halve(size, pooled):
    assert halve(torch.rand(1, 2, *size)).shape[-2:] == pooled


def test_pool_and_loss_equal_loops():
    torch.manual_seed(0)
    patches, masks = torch.randn(2, 4, 3, 5, 6), torch.rand(2, 3, 2, 3, 5)
    pooled = ImplicitAlignment.pool(patches, masks)
    loss = 0.
    for video, pair in itertools.product(range(2), range(3)):
        means = []
        for i in range(2):
            mean = torch.zeros(6)
            for row, column in itertools.product(range(3), range(5)):
                mean += (
                    masks[video, pair, i, row, column] *
                    patches[video, pair + i, row, column] / 15)
            torch.testing.assert_close(pooled[video, pair, i], mean)
            means.append(mean)
        cosine = means[0] @ means[1] / (means[0].norm() * means[1].norm())
        loss += (1 - cosine) / 6
    torch.testing.assert_close(ImplicitAlignment.loss(pooled), loss)


def test_points_of_a_pair_depend_on_both_frames_only():
    torch.manual_seed(0)
    predictor = InteractivePointPredictor(16).eval()
    patches = torch.randn(1, 4, 6, 6, 16)
    _, points = predictor(patches)
    changed = patches.clone()
    changed[:, 2] += torch.randn(6, 6, 16)
    _, moved = predictor(changed)
    same = (points == moved).flatten(2).all(-1)[0].tolist()
    assert same == [True, False, False]
    assert points.abs().max() <= 0.75


def test_disturbance_follows_training_and_its_scale():
    torch.manual_seed(0)
    alignment = ImplicitAlignment(8).eval()
    patches = torch.randn(1, 3, 8, 8, 8)
    points, plain = alignment.align(patches)[1:]
    disturbed = alignment.align(patches, disturb=True)[2]
    torch.testing.assert_close(disturbed,
                               soft_mask(points, (8, 8), disturbance=0.2))
    assert not torch.allclose(plain, disturbed)
    alignment.train()
    alignment.predictor.eval()  # the same points again
    assert torch.equal(alignment.align(patches)[2], disturbed)
    alignment.disturbance_scale = 0.25
    torch.testing.assert_close(
        alignment.align(patches)[2],
        soft_mask(points, (8, 8), disturbance=0.05))


def test_gradient_reaches_the_predictor():
    torch.manual_seed(0)
    alignment = ImplicitAlignment(8)
    mutual, _, loss = alignment(torch.randn(2, 3, 6, 6, 8))
    (mutual.square().sum() + loss).backward()
    for name, parameter in alignment.named_parameters():
        assert parameter.grad is not None, name
    assert isinstance(alignment.predictor.point[-1], nn.Conv2d)
    assert alignment.predictor.point[-1].weight.grad.abs().sum() > 0


def test_unknown_stem():
    with pytest.raises(ValueError, match='alignment.predictor.stem'):
        InteractivePointPredictor(8, stem='sparse')
