import pytest
import torch
from alignment_loops import PAIRS, align_by_loop, spread_points

from projects.ila.models.temporal import TokenAlignment

with_pairs = pytest.mark.parametrize('target, frames', PAIRS)


def build(**kwargs):
    torch.manual_seed(0)
    module = TokenAlignment(8, 1, **kwargs).eval()
    spread_points(module)
    return module


@pytest.mark.parametrize('stem', ['separable', 'dense'])
@with_pairs
@torch.no_grad()
def test_equals_a_loop(target, frames, stem):
    module = build(
        target=target,
        predictor=dict(stem=stem, channels=12, hidden_channels=6))
    video = torch.randn(frames, 9, 10, 8)
    points, loss, means = align_by_loop(module.alignment, video, PAIRS[target,
                                                                       frames])
    assert points.std() > 0.1
    for _ in range(2):
        change = module(video[None])
        assert change.class_token is None and change.patches is None
        torch.testing.assert_close(change.token[0],
                                   torch.stack([token for token, *_ in means]))
        torch.testing.assert_close(change.points[0], points)
        torch.testing.assert_close(change.loss, loss)
        module.switch_to_deploy()


@with_pairs
@torch.no_grad()
def test_difference_equals_a_loop(target, frames):
    module = build(target=target, difference=True)
    video = torch.randn(1, frames, 9, 10, 8)
    masks = module.alignment(video)[2]
    pooled = module.alignment.pool(video, masks)[0]
    weight = module.difference_fc.weight
    assert weight.std() > 0.1
    of_frames = [[] for _ in range(frames)]
    for pair, (earlier, later) in zip(PAIRS[target, frames], pooled):
        for frame in pair:
            of_frames[frame].append(weight @ (later - earlier))
    torch.testing.assert_close(
        module(video).class_token[0],
        torch.stack([sum(values) / len(values) for values in of_frames]))


def test_difference_starts_without_effect_and_learns():
    module = TokenAlignment(8, 1, difference=True)
    module.init_weights()
    change = module(torch.randn(2, 4, 7, 7, 8)).class_token
    assert not change.any()
    change.sum().backward()
    assert module.difference_fc.weight.grad.abs().sum() > 0


@torch.no_grad()
def test_masks_of_one_leave_each_frame_its_own_average():
    """Why the average of neighbours is another module."""
    video = torch.randn(1, 4, 5, 6, 8)
    torch.testing.assert_close(
        build(radius=2.)(video).token, video.mean((2, 3)))


@pytest.mark.parametrize('target', ['first', 'middle'])
def test_gradients_do_not_mix_videos(target):
    videos = torch.randn(2, 4, 5, 6, 8, requires_grad=True)
    build(target=target)(videos).token[1].sum().backward()
    assert not videos.grad[0].any()
    assert videos.grad[1].flatten(1).any(1).all()


def test_gradient_reaches_the_predictor():
    module = build()
    change = module(torch.randn(2, 3, 6, 6, 8))
    (change.token.square().sum() + change.loss).backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
    assert module.alignment.predictor.point[-1].weight.grad.abs().sum() > 0
