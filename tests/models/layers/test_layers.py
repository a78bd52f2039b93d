"""Each layer against loops over frames and tokens, with PyTorch's attention."""
import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from projects.ila.models.layers import ALIGNMENT_LAYERS, LAYERS

GRID = 4, 2, 3
WIDTH = 32


def build(form, **kwargs):
    """Build a layer that starts from anything but zero."""
    torch.manual_seed(0)
    layer = LAYERS[form](
        embed_dims=WIDTH,
        num_heads=2,
        feedforward_channels=64,
        act_cfg=dict(type='mmaction.LeanQuickGELU'),
        norm_cfg=dict(type='LN', eps=1e-5),
        **kwargs)
    layer.init_weights()
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.2)
    return layer.eval()


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


LOOPS = dict(
    none=none_by_loop,
    shift=shift_by_loop,
    divided=divided_by_loop,
    message=message_by_loop,
    neighbours=neighbours_by_loop)


@pytest.mark.parametrize(
    'form', [form for form in LAYERS if form not in ALIGNMENT_LAYERS])
@torch.no_grad()
def test_layer_equals_loops(form):
    layer, weights = build(form), build(form).state_dict()
    videos = torch.randn(2, GRID[0], 1 + 6, WIDTH)
    out, points, loss = layer(videos.flatten(0, 1), GRID)
    assert points is None and loss is None
    for own, video in zip(out.unflatten(0, (2, -1)), videos):
        frames = LOOPS[form](video, weights)
        torch.testing.assert_close(
            own,
            torch.stack([add_mlp(frame, weights) for frame in frames]),
            rtol=1e-4,
            atol=1e-4)


@pytest.mark.parametrize('form', ['divided', 'message'])
def test_gradient_reaches_every_parameter(form):
    layer = build(form)
    out, _, _ = layer(torch.randn(8, 7, WIDTH), GRID)
    out.square().sum().backward()
    added = 0
    for name, parameter in layer.named_parameters():
        assert parameter.grad.abs().max() > 1e-3, name
        added += name.startswith(('temporal_', 'message_'))
    assert added == dict(divided=6, message=8)[form]


@torch.no_grad()
def test_token_form_with_masks_of_one_has_no_time():
    """Why the average of neighbours is not that of each frame alone."""
    layer = build('token', alignment=dict(radius=2.))
    neighbours = build('neighbours')
    neighbours.load_state_dict(layer.state_dict(), strict=False)
    x = torch.randn(GRID[0], 7, WIDTH)
    out, _, _ = layer(x, GRID)
    for own, frame in zip(out, x):
        alone = attend_with(frame, frame[1:].mean(0), layer.state_dict())
        torch.testing.assert_close(
            own, add_mlp(alone, layer.state_dict()), rtol=1e-4, atol=1e-4)
    assert (neighbours(x, GRID)[0] - out).abs().max() > 0.01
    # Where all frames are the same, so are both averages.
    still = x[:1].expand(GRID[0], -1, -1)
    torch.testing.assert_close(
        neighbours(still, GRID)[0],
        layer(still, GRID)[0])


@torch.no_grad()
def test_class_tokens_take_the_difference():
    """As if it were in the input, since the alignment is of patches only."""
    layer = build('token', alignment=dict(difference=True))
    weights = layer.state_dict()
    plain = build('token', alignment=dict())
    plain.load_state_dict({
        name: weights[name]
        for name in weights if not name.endswith('difference_fc.weight')
    })
    x = torch.randn(2 * GRID[0], 7, WIDTH)
    maps = x[:, 1:].view(2, *GRID, WIDTH)
    change = layer.alignment(maps)[1]
    assert change.abs().mean() > 0.02
    changed = x.clone()
    for number in range(2 * GRID[0]):
        changed[number, 0] += change[divmod(number, GRID[0])]
    torch.testing.assert_close(layer(x, GRID)[0], plain(changed, GRID)[0])
