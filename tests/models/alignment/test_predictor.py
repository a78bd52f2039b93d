import pytest
import torch

from projects.ila.models.alignment import InteractivePointPredictor
from projects.ila.models.alignment.predictor import halve, soft_argmax


@pytest.mark.parametrize('size, pooled', [((14, 7), (7, 3)), ((3, 1), (1, 1))])
def test_halve(size, pooled):
    assert halve(torch.rand(1, 2, *size)).shape[-2:] == pooled


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


def test_soft_argmax_of_single_places():
    """As sharp as these are, the mean is the place itself."""
    logits = torch.full((3, 5, 4), -1e4)
    for heat, (row, column) in zip(logits, ((0, 0), (4, 3), (2, 1))):
        heat[row, column] = 0.
    torch.testing.assert_close(
        soft_argmax(logits), torch.tensor([[-1., -1.], [1., 1.], [-1 / 3,
                                                                  0.]]))


@pytest.mark.parametrize('size', [(5, 4), (1, 6)])
def test_soft_argmax_equals_a_loop(size):
    torch.manual_seed(0)
    logits = torch.randn(2, *size, dtype=torch.half)
    for heat, point in zip(logits.float(), soft_argmax(logits)):
        weights, x, y = 0., 0., 0.
        for row in range(size[0]):
            for column in range(size[1]):
                weight = heat[row, column].exp()
                weights += weight
                x += weight * (2 * column / (size[1] - 1) - 1)
                y += weight * (2 * row / max(size[0] - 1, 1) - 1) * (
                    size[0] > 1)
        torch.testing.assert_close(point, torch.stack([x, y]) / weights)


@torch.no_grad()
def test_points_of_heat_maps_move_with_the_patches():
    torch.manual_seed(0)
    predictor = InteractivePointPredictor(8, soft_argmax=True).eval()
    predictor.point[-1].weight *= 1000  # Sharp heat maps.
    patches = torch.zeros(2, 2, 16, 16, 8)
    patches[:, :, 6:9, 6:9] = torch.randn(2, 3, 3, 8)
    moved = patches.roll((2, 3), (2, 3))
    (_, before), (_, after) = predictor(patches), predictor(moved)
    shift = torch.tensor([3., 2.]) * 2 / 15
    torch.testing.assert_close(
        after - before, shift.expand(2, 1, 2, 2), rtol=0, atol=0.02)
    several = InteractivePointPredictor(8, soft_argmax=True, num_points=3)
    assert several(patches)[1].shape == (2, 1, 2, 3, 2)


@torch.no_grad()
def test_motion_leaves_out_what_stays():
    torch.manual_seed(0)
    predictor = InteractivePointPredictor(8, motion=True).eval()
    patches = torch.randn(1, 3, 5, 6, 8)
    still = torch.randn(1, 1, 5, 6, 8)
    for own, other in zip(predictor(patches), predictor(patches + still)):
        torch.testing.assert_close(own, other)
    seen = InteractivePointPredictor(8).eval()
    seen.load_state_dict(predictor.state_dict())
    centred = torch.stack(
        [frame - sum(patches[0]) / 3 for frame in patches[0]])[None]
    for own, other in zip(predictor(patches), seen(centred)):
        torch.testing.assert_close(own, other)


def test_unknown_stem():
    with pytest.raises(ValueError, match='temporal.predictor.stem'):
        InteractivePointPredictor(8, stem='sparse')
