import pytest
import torch

from projects.ila.models.alignment import HeatMapPredictor, ImplicitAlignment
from projects.ila.models.alignment.heat_map import soft_argmax


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


@pytest.mark.parametrize('num_points', [1, 3])
@pytest.mark.parametrize('target, numbers', [
    ('neighbour', [(0, 1), (1, 2), (2, 3)]),
    ('first', [(0, 1), (0, 2), (0, 3)]),
])
@torch.no_grad()
def test_points_are_those_of_the_frames(target, numbers, num_points):
    torch.manual_seed(0)
    alignment = ImplicitAlignment(
        8, dict(type='HeatMapPredictor'), target=target, num_points=num_points)
    predictor = alignment.predictor
    predictor.energy.copy_(torch.rand(num_points))
    video = torch.randn(4, 5, 6, 8)
    interaction, points = predictor(video[None])
    assert interaction is None
    moving = video - sum(video) / 4
    moving = moving / (moving**2).mean().sqrt()
    frames = []
    for frame in moving:
        heat = predictor.heat(
            predictor.reduction(frame).permute(2, 0, 1)[None])
        for own, weight in zip(heat[0], predictor.energy):
            own += weight * (frame**2).sum(-1) / 8
        frames.append(soft_argmax(heat))
    for pair, found in zip(numbers, points[0]):
        for number, point in zip(pair, found):
            torch.testing.assert_close(
                point.view(num_points, 2), frames[number][0])
    torch.testing.assert_close(
        alignment.pairs.merge(points)[0].view(-1, num_points, 2),
        torch.cat(frames))


@torch.no_grad()
def test_points_move_with_what_moves():
    """Neither a still background nor the scale of the features matters."""
    torch.manual_seed(0)
    predictor = HeatMapPredictor(8)
    predictor.heat[-1].weight *= 1000  # Sharp heat maps.
    patches = torch.zeros(1, 4, 16, 16, 8)
    patches[:, :, 5:8, 4:9] = torch.randn(4, 3, 5, 8)
    _, points = predictor(patches)
    still = torch.randn(16, 16, 8)
    _, others = predictor(10 * patches + still)
    torch.testing.assert_close(points, others, rtol=0, atol=0.01)
    _, moved = predictor(patches.roll((2, 3), (2, 3)) + still)
    shift = torch.tensor([3., 2.]) * 2 / 15
    torch.testing.assert_close(
        moved - points, shift.expand(1, 3, 2, 2), rtol=0, atol=0.01)


@torch.no_grad()
def test_points_begin_where_most_changes():
    torch.manual_seed(0)
    patches = torch.randn(16, 16, 8).repeat(1, 4, 1, 1, 1)
    places = torch.tensor([[2, 3], [5, 9], [8, 4], [13, 12]])
    for frame, (row, column) in zip(patches[0], places):
        frame[row, column] += 3 * torch.randn(8)
    _, points = HeatMapPredictor(8, num_points=2)(patches)
    found = (points.flip(-1) + 1) * 15 / 2  # Rows and columns.
    for frame in range(3):
        torch.testing.assert_close(
            found[0, frame, 0],
            places[frame].float().expand(2, 2),
            rtol=0,
            atol=0.5)


def test_still_videos_have_points():
    patches = torch.ones(1, 4, 5, 6, 8, requires_grad=True)
    points = HeatMapPredictor(8)(patches)[1]
    assert points.isfinite().all()
    points.sum().backward()
    assert patches.grad.isfinite().all()


@torch.no_grad()
def test_rounding_errors_of_still_videos_are_no_motion():
    torch.manual_seed(0)
    still = 30 * torch.randn(1, 1, 6, 6, 8)
    patches = still + 1e-5 * torch.randn(1, 5, 6, 6, 8)
    predictor = HeatMapPredictor(8)
    points, expected = (
        predictor(part)[1] for part in (patches, still.expand(1, 5, 6, 6, 8)))
    torch.testing.assert_close(points, expected, rtol=0, atol=1e-3)
