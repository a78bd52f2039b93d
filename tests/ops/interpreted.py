"""Print how far kernels in Triton's interpreter are from plain PyTorch."""
import json
import sys
from pathlib import Path
from unittest import mock

import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2]))
from mmengine.registry import init_default_scope  # noqa: E402

from projects.ila import ops  # noqa: E402
from projects.ila.models.backbones import ILAVisionTransformer  # noqa: E402
from projects.ila.ops import common  # noqa: E402

init_default_scope('mmaction')
ARCH = dict(
    embed_dims=32,
    num_layers=1,
    num_heads=2,
    feedforward_channels=64,
    patch_size=16,
    out_channels=16)
SMALL = dict(channels=16, hidden_channels=16)
BACKBONES = dict(
    token=dict(type='TokenAlignment', num_points=2, predictor=SMALL),
    additions=dict(
        type='TokenAlignment',
        difference=True,
        motion_loss=True,
        predictor=SMALL),
    first=dict(type='TokenAlignment', target='first', predictor=SMALL),
    released=dict(type='ReleasedAlignment', predictor=SMALL))


def difference(own, other) -> float:
    own, other = own.double(), other.double()
    return ((own - other).norm() / other.norm()).item()


def compare(own, other, weights) -> list:
    """Compare two results in double precision, and their gradients."""
    gradient = torch.randn_like(own)
    gradients = (
        torch.autograd.grad((result * gradient.to(result)).sum(), weights)
        for result in (own, other))
    return [difference(own, other), *map(difference, *gradients)]


def compare_ops(batch, frames, height, width, channels, points) -> dict:
    """Compare each function with its definition."""
    tokens = torch.randn(
        batch * frames, 2 + height * width, channels, requires_grad=True)
    patches = tokens[:, 2:].unflatten(0, (batch, frames)).unflatten(
        2, (height, width))
    weight = torch.randn(2 * channels, 1, 3, 3, requires_grad=True)
    bias = torch.randn(2 * channels, requires_grad=True)
    masks = torch.rand(batch, frames - 1, 2, height, width, requires_grad=True)
    pairs = torch.stack([patches[:, :-1], patches[:, 1:]], dim=2).double()

    maps = pairs.permute(0, 1, 2, 5, 3, 4).flatten(2, 3).flatten(0, 1)
    convolved = F.conv2d(
        maps, weight.double(), bias.double(), padding=1, groups=2 * channels)
    results = dict(
        depthwise=compare(
            ops.pair_depthwise_conv(patches, weight, bias), convolved,
            [tokens, weight, bias]),
        pool=compare(
            ops.pair_pool(patches, masks),
            (pairs * masks.double()[..., None]).mean((3, 4)), [tokens, masks]))

    with torch.no_grad():
        own = ops.pair_depthwise_conv(patches, weight, bias, relu=True)
        results['relu'] = [difference(own, convolved.relu())]

        places = 2 * torch.rand(batch, frames - 1, 2, points, 2) - 1
        axes = [
            torch.linspace(-1, 1, side) if side > 1 else torch.zeros(1)
            for side in (width, height)
        ]
        along = [(1 - 1.5 *
                  ((axis - places[..., i, None]).abs() - 0.25)).clamp(0, 1)
                 for i, axis in enumerate(axes)]
        soft = (along[1][..., :, None] * along[0][..., None, :]).amax(3)
        pooled = (pairs * soft[..., None]).mean((3, 4))
        expected = F.pad(pooled[:, :, 0],
                         (0, 0, 0, 1)) + F.pad(pooled[:, :, 1], (0, 0, 1, 0))
        expected[:, 1:-1] /= 2
        if points == 1:
            places = places.squeeze(3)
        own = ops.pair_tokens(patches, places, 0.25, 1.5)
        results['tokens'] = [difference(own, expected)]

        layers = [
            nn.Conv2d(24, 40, 3, padding=1),
            nn.Conv2d(40, 64, 1, groups=2),
            nn.Conv2d(64, 4 * points, 1, groups=2)
        ]
        features = torch.randn(3, 24, height, width)
        own = ops.pair_points(features, *layers, limit=0.75)

        def halve(x):
            return F.max_pool2d(x, [min(2, side) for side in x.shape[-2:]])

        layers = [layer.double() for layer in layers]
        x = halve(layers[0](halve(features.double())).relu())
        x = layers[1](x.amax((2, 3), keepdim=True)).relu()
        results['points'] = [
            difference(own, 0.75 * layers[2](x).tanh()[..., 0, 0])
        ]
    return results


def compare_backbone(temporal) -> dict:
    """Compare a backbone with and without the kernels."""
    torch.manual_seed(0)
    model = ILAVisionTransformer(arch=ARCH, img_size=48, temporal=temporal)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=parameter[0].numel()**-0.5)
    videos = torch.randn(2, 3, 3, 48, 48)

    def run(kernels, **autocast):
        torch.manual_seed(1)
        with mock.patch.object(common, 'INTERPRETED', kernels), \
                torch.autocast('cpu', torch.float16, **autocast):
            features = model(videos)
        return features

    def step(kernels):
        features = run(kernels, enabled=False)
        loss = features.frames.square().sum() + features.align_loss.sum()
        gradients = torch.autograd.grad(loss, model.parameters())
        return torch.cat([gradient.flatten() for gradient in gradients])

    training = difference(step(True), step(False))
    model.eval().switch_to_deploy()
    with torch.no_grad():
        expected = run(False, enabled=False).frames
        found = {
            'deployed': run(True, enabled=False),
            'half': run(True),
            'half, no kernels': run(False)
        }
    results = {
        name: difference(features.frames, expected)
        for name, features in found.items()
    }
    return dict(results, training=training)


if __name__ == '__main__':
    torch.manual_seed(0)
    print(
        json.dumps(
            dict(
                ops=[
                    compare_ops(1, 3, 5, 6, 40, points=1),
                    compare_ops(1, 2, 8, 1, 33, points=3),
                    # Several blocks of channels, and several frames whose
                    # weight gradients are summed by one program.
                    compare_ops(1, 2, 3, 6, 130, points=1),
                    compare_ops(33, 2, 2, 2, 16, points=1),
                ],
                backbones={
                    name: compare_backbone(temporal)
                    for name, temporal in BACKBONES.items()
                })))
