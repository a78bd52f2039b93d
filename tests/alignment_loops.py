"""The alignment in loops over pairs and patches, to compare with."""
import itertools

import torch
import torch.nn.functional as F
from torch import nn

# Pairs by target and number of frames.
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


@torch.no_grad()
def spread_points(module):
    """Give an alignment statistics, and points that are not all central."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_(0, 0.1)
            norm.running_var.uniform_(0.5, 2)
    for name, weight in module.named_parameters():
        if '.point.' in name and name.endswith('weight'):
            weight *= 4


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


def pair_by_loop(predictor, earlier, later):
    """Interaction features (2, H, W, channels / 2) and points (2, 2) of a
    pair, with plain convolutions of both frames' channels, (H, W, 2 * C)."""
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
