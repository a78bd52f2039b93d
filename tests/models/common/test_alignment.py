import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from projects.ila.models.alignment import (ImplicitAlignment,
                                                  InteractivePointPredictor,
                                                  ReleasedAlignment, halve,
                                                  merge_neighbours, soft_mask)


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


@pytest.mark.parametrize('form', [ImplicitAlignment, ReleasedAlignment])
def test_motion_loss_does_not_see_what_stays(form):
    """A still background changes neither the loss nor the predictions."""
    torch.manual_seed(0)
    alignment = form(8, motion_loss=True)
    video, still = torch.randn(2, 4, 7, 7, 8), torch.randn(2, 1, 7, 7, 8)
    _, points, masks = alignment.align(video, disturb=False)
    *_, found, loss = alignment(video, disturb=False)
    assert torch.equal(found, points)
    torch.testing.assert_close(alignment.loss(video + still, masks), loss)
    alignment.motion_loss = False
    *_, found, other = alignment(video, disturb=False)
    assert torch.equal(found, points)
    assert (alignment.loss(video + still, masks) - other).abs() > 0.01


# By target and number of frames.
PAIRS = {
    ('neighbour', 3): [(0, 1), (1, 2)],
    ('first', 2): [(0, 1)],
    ('first', 3): [(0, 1), (0, 2)],
    ('first', 5): [(0, 1), (0, 2), (0, 3), (0, 4)],
    ('middle', 2): [(0, 1)],
    ('middle', 3): [(0, 1), (1, 2)],
    ('middle', 4): [(0, 2), (1, 2), (2, 3)],
    ('middle', 5): [(0, 2), (1, 2), (2, 3), (2, 4)],
}
with_pairs = pytest.mark.parametrize('target, frames', PAIRS)
with_stems = pytest.mark.parametrize('stem', ['separable', 'dense'])


def build(form, stem, **kwargs):
    """An alignment of 8 channels with statistics, whose points are spread."""
    torch.manual_seed(0)
    predictor = dict(stem=stem, channels=12, hidden_channels=6)
    alignment = form(8, predictor=predictor, **kwargs).eval()
    for norm in alignment.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_(0, 0.1)
            norm.running_var.uniform_(0.5, 2)
    for layer in alignment.predictor.point[::2]:
        layer.weight.data *= 4
    return alignment


def pair_by_loop(predictor, earlier, later):
    """Interaction features (2, H, W, channels / 2) and points (2, 2) of a pair,
    with plain convolutions of both frames' channels, (H, W, 2 * C)."""
    x = torch.cat([earlier, later], dim=-1).movedim(-1, 0)[None]
    stem, *others = predictor.interaction
    # The parent does not know of pairs.
    x = super(type(stem), stem).forward(x)
    for layer in others:
        x = layer(x)
    features = torch.stack(x[0].movedim(0, -1).chunk(2, dim=-1))
    x = F.max_pool2d(predictor.reduction(x), 2)
    x = F.max_pool2d(predictor.prediction(x), 2).amax((2, 3), keepdim=True)
    return features, predictor.limit * predictor.point(x).tanh().view(2, 2)


def align_by_loop(alignment, video, pairs):
    """Points and loss of a video (T, H, W, C), pair by pair, and what each
    frame has of its pairs: tokens, masks and interaction features."""
    points, cosines = [], []
    halves = [[] for _ in video]
    for pair in pairs:
        features, found = pair_by_loop(alignment.predictor, *video[list(pair)])
        points.append(found)
        tokens = []
        for frame, point, feature in zip(pair, found, features):
            mask = mask_by_loop(point.tolist(), video.shape[1:3])
            tokens.append((mask[..., None] * video[frame]).mean((0, 1)))
            halves[frame].append((tokens[-1], mask, feature))
        cosines.append(F.cosine_similarity(*tokens, dim=0))
    means = [[sum(values) / len(values) for values in zip(*frame)]
             for frame in halves]
    return torch.stack(points), 1 - sum(cosines) / len(pairs), means


@with_stems
@with_pairs
@torch.no_grad()
def test_targets_equal_a_loop(target, frames, stem):
    alignment = build(ImplicitAlignment, stem, target=target)
    video = torch.randn(frames, 9, 10, 8)
    pairs = PAIRS[target, frames]
    points, loss, means = align_by_loop(alignment, video, pairs)
    assert points.std() > 0.1
    expected = torch.stack([token for token, _, _ in means]), points, loss
    for _ in range(2):
        mutual, change, *rest = alignment(video[None])
        assert change is None
        torch.testing.assert_close(
            tuple(part.squeeze(0) for part in (mutual, *rest)), expected)
        alignment.switch_to_deploy()


@with_pairs
@torch.no_grad()
def test_difference_equals_a_loop(target, frames):
    alignment = build(
        ImplicitAlignment, 'separable', target=target, difference=True)
    video = torch.randn(1, frames, 9, 10, 8)
    pairs = PAIRS[target, frames]
    pooled = alignment.pool(video, alignment.align(video)[2])[0]
    weight = alignment.difference_fc.weight
    assert weight.std() > 0.1
    of_frames = [[] for _ in range(frames)]
    for pair, (earlier, later) in zip(pairs, pooled):
        for frame in pair:
            of_frames[frame].append(weight @ (later - earlier))
    torch.testing.assert_close(
        alignment(video)[1][0],
        torch.stack([sum(values) / len(values) for values in of_frames]))


def test_difference_starts_without_effect_and_learns():
    torch.manual_seed(0)
    alignment = ImplicitAlignment(8, difference=True)
    alignment.init_weights()
    change = alignment(torch.randn(2, 4, 7, 7, 8))[1]
    assert not change.any()
    change.sum().backward()
    assert alignment.difference_fc.weight.grad.abs().sum() > 0


@with_stems
@with_pairs
@torch.no_grad()
def test_targets_of_the_released_form_equal_a_loop(target, frames, stem):
    alignment = build(ReleasedAlignment, stem, target=target)
    video = torch.randn(frames, 9, 10, 8)
    points, loss, means = align_by_loop(alignment, video, PAIRS[target,
                                                                frames])
    assert points.std() > 0.1
    weights = alignment.temporal_conv.weight[..., 0].unbind(-1)
    temporal = []
    for t in range(frames):
        x = alignment.temporal_conv.bias
        for weight, near in zip(weights, (t - 1, t, t + 1)):
            if 0 <= near < frames:
                x = x + means[near][2] @ weight.T
        temporal.append(alignment.temporal_fc(x))
    aligned = [x * mask[..., None] for x, (_, mask, _) in zip(video, means)]
    torch.testing.assert_close(
        tuple(part.squeeze(0) for part in alignment(video[None])),
        (torch.stack(aligned), torch.stack(temporal), points, loss))


@pytest.mark.parametrize('target', ['first', 'middle'])
def test_gradients_of_a_target_do_not_mix_videos(target):
    alignment = build(ImplicitAlignment, 'separable', target=target)
    videos = torch.randn(2, 4, 5, 6, 8, requires_grad=True)
    alignment(videos)[0][1].sum().backward()
    assert not videos.grad[0].any()
    assert videos.grad[1].flatten(1).any(1).all()


@pytest.mark.parametrize('form', [ImplicitAlignment, ReleasedAlignment])
@torch.no_grad()
def test_several_points(form):
    alignment = build(form, 'separable', num_points=3)
    patches = torch.randn(2, 4, 5, 6, 8)
    _, points, masks = alignment.align(patches, disturb=True)
    assert points.shape == (2, 3, 2, 3, 2)
    assert points.std() > 0.1
    expected = torch.zeros(2, 3, 2, 5, 6)
    for *place, point in itertools.product(*map(range, points.shape[:4])):
        mask = soft_mask(points[(*place, point)], (5, 6), disturbance=0.2)
        expected[tuple(place)] = torch.maximum(expected[tuple(place)], mask)
    torch.testing.assert_close(masks, expected)
    assert torch.equal(alignment(patches)[-2], points)
    # The first half of the last layer is the earlier frame's.
    for parameter in alignment.predictor.point[-1].parameters():
        parameter[:6] = 0
    moved = alignment.align(patches)[1]
    assert not moved[:, :, 0].any()
    assert torch.equal(moved[:, :, 1], points[:, :, 1])


def test_every_one_of_several_points_learns():
    torch.manual_seed(0)
    alignment = ImplicitAlignment(8, num_points=2)
    alignment(torch.randn(2, 4, 7, 7, 8))[0].square().sum().backward()
    assert alignment.predictor.point[-1].weight.grad.flatten(1).any(1).all()


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


def test_no_disturbance():
    torch.manual_seed(0)
    alignment = ImplicitAlignment(8, disturbance=0.).eval()
    patches = torch.randn(1, 3, 8, 8, 8)
    plain, disturbed = (
        alignment.align(patches, disturb)[2] for disturb in (False, True))
    assert torch.equal(plain, disturbed)


def test_gradient_reaches_the_predictor():
    torch.manual_seed(0)
    alignment = ImplicitAlignment(8)
    mutual, _, _, loss = alignment(torch.randn(2, 3, 6, 6, 8))
    (mutual.square().sum() + loss).backward()
    for name, parameter in alignment.named_parameters():
        assert parameter.grad is not None, name
    assert isinstance(alignment.predictor.point[-1], nn.Conv2d)
    assert alignment.predictor.point[-1].weight.grad.abs().sum() > 0


def test_no_difference_in_the_released_form():
    with pytest.raises(ValueError, match='alignment.difference` out'):
        ReleasedAlignment(8, difference=True)


def test_unknown_stem():
    with pytest.raises(ValueError, match='alignment.predictor.stem'):
        InteractivePointPredictor(8, stem='sparse')


@pytest.mark.parametrize('key, value', [
    ('target', 'last'),
    ('num_points', 0),
    ('num_points', 1.5),
])
def test_bad_arguments(key, value):
    with pytest.raises(
            ValueError,
            match=f"{key} must be.*'{value}'; mend "
            f'`model.backbone.temporal.{key}`'):
        ImplicitAlignment(8, **{key: value})
