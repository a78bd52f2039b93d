import itertools

import pytest
import torch
from alignment_loops import mask_by_loop

from projects.ila.models.alignment import pair_masks, soft_mask


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


def test_of_several_points_the_highest_counts():
    points = torch.rand(
        2, 3, 2, 3, 2, generator=torch.manual_seed(0)) * 1.5 - 0.75
    expected = torch.zeros(2, 3, 2, 5, 6)
    for *place, point in itertools.product(*map(range, points.shape[:4])):
        mask = mask_by_loop(points[(*place, point)].tolist(), (5, 6))
        expected[tuple(place)] = torch.maximum(expected[tuple(place)], mask)
    torch.testing.assert_close(pair_masks(points, (5, 6)), expected)
