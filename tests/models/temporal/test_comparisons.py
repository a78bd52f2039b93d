"""Each module and a block after it, against loops over frames and tokens."""
import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmaction.registry import MODELS
from projects.ila.models.temporal import comparisons

FRAMES, WIDTH = 4, 32


def build(name):
    """Build a backbone of one block that starts from anything but zero."""
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type='ILAVisionTransformer',
            arch=dict(
                embed_dims=WIDTH,
                num_layers=1,
                num_heads=2,
                feedforward_channels=64,
                patch_size=8,
                out_channels=16),
            temporal=name and dict(type=f'{comparisons.__name__}.{name}')))
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model.eval()


def weights_of(model):
    weights = model.image.blocks[0].state_dict()
    for module in model.temporal.values():
        weights.update(module.state_dict())
    return weights


def norm(x, weights, name):
    return F.layer_norm(x, (WIDTH, ), weights[f'{name}.weight'],
                        weights[f'{name}.bias'])


def linear(x, weights, name):
    return x @ weights[f'{name}.weight'].T + weights[f'{name}.bias']


def attend(x, weights, name):
    """Self-attention of one sequence, ``(L, C)``."""
    attention = nn.MultiheadAttention(WIDTH, num_heads=2)
    attention.load_state_dict({
        'in_proj_weight': weights[f'{name}.qkv.weight'],
        'in_proj_bias': weights[f'{name}.qkv.bias'],
        'out_proj.weight': weights[f'{name}.proj.weight'],
        'out_proj.bias': weights[f'{name}.proj.bias'],
    })
    return attention(x, x, x)[0]


def add_mlp(x, weights):
    z = linear(norm(x, weights, 'ln2'), weights, 'ffn.layers.0.0')
    return x + linear(z * torch.sigmoid(1.702 * z), weights, 'ffn.layers.1')


def attend_with(frame, token, weights):
    """Attention of a frame and one more token, which is dropped."""
    tokens = norm(torch.cat([frame, token[None]]), weights, 'ln1')
    return frame + attend(tokens, weights, 'attn')[:-1]


def none_by_loop(x, weights):
    return [
        frame + attend(norm(frame, weights, 'ln1'), weights, 'attn')
        for frame in x
    ]


def shift_by_loop(x, weights):
    y = norm(x, weights, 'ln1')
    shifted = y.clone()
    for t, channel in itertools.product(range(len(x)), range(WIDTH // 4)):
        source = t + 1 if channel < WIDTH // 8 else t - 1
        shifted[t, :, channel] = 0.
        if 0 <= source < len(x):
            shifted[t, :, channel] = y[source, :, channel]
    return [
        frame + attend(tokens, weights, 'attn')
        for frame, tokens in zip(x, shifted)
    ]


def divided_by_loop(x, weights):
    x = x.clone()
    for place in range(x.shape[1]):
        y = norm(x[:, place], weights, 'temporal_ln')
        for t, channel in itertools.product(range(len(x)), range(WIDTH)):
            angle = t / 10000**(channel // 2 * 2 / WIDTH)
            y[t, channel] += (math.cos if channel % 2 else math.sin)(angle)
        x[:, place] += attend(y, weights, 'temporal_attn')
    return none_by_loop(x, weights)


def message_by_loop(x, weights):
    messages = torch.stack(
        [linear(frame[0], weights, 'message_fc') for frame in x])
    messages = messages + attend(
        norm(messages, weights, 'message_ln'), weights, 'message_attn')
    return [
        attend_with(frame, message, weights)
        for frame, message in zip(x, messages)
    ]


def neighbours_by_loop(x, weights):
    out = []
    for t, frame in enumerate(x):
        pairs = [
            torch.cat([x[earlier, 1:], x[earlier + 1, 1:]]).mean(0)
            for earlier in (t - 1, t) if 0 <= earlier < len(x) - 1
        ]
        out.append(attend_with(frame, sum(pairs) / len(pairs), weights))
    return out


LOOPS = {
    None: none_by_loop,
    'TemporalShift': shift_by_loop,
    'DividedAttention': divided_by_loop,
    'MessageToken': message_by_loop,
    'NeighbourAverage': neighbours_by_loop,
}


@pytest.mark.parametrize('name', LOOPS)
@torch.no_grad()
def test_equals_loops(name):
    assert LOOPS.keys() == {None, *comparisons.__all__}
    model = build(name)
    videos = torch.randn(2, 3, FRAMES, 16, 24)
    out = model(videos)
    assert out.points is None and out.align_loss is None
    tokens, _ = model.image.embed(videos.transpose(1, 2).flatten(0, 1))
    weights = weights_of(model)
    for own, video in zip(out.patches, tokens.unflatten(0, (2, FRAMES))):
        frames = LOOPS[name](video, weights)
        torch.testing.assert_close(
            own,
            torch.stack([add_mlp(frame, weights)[1:] for frame in frames]),
            rtol=1e-4,
            atol=1e-4)


@pytest.mark.parametrize('name, added', [('DividedAttention', 6),
                                         ('MessageToken', 8)])
def test_gradient_reaches_every_parameter(name, added):
    model = build(name)
    model(torch.randn(2, 3, FRAMES, 16, 24)).patches.square().sum().backward()
    assert len([*model.temporal.parameters()]) == added
    for name, parameter in model.temporal.named_parameters():
        assert parameter.grad.abs().max() > 1e-3, name
