import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny import tiny_backbone

from projects.ila.visualization import (DrawingStyle, draw_attention,
                                        record_token_attention)


def build(**kwargs):
    model = tiny_backbone(**kwargs)
    for block in model.image.blocks:  # Otherwise all are attended alike.
        block.attn.qkv.weight.data *= 10
    return model


def attention_by_loop(tokens, layer):
    """Mean attention over the heads of one frame's tokens, (N, N)."""
    x = F.layer_norm(tokens, (24, ), layer.ln1.weight, layer.ln1.bias, 1e-5)
    weight, bias = layer.attn.qkv.weight, layer.attn.qkv.bias
    heads = []
    for head in range(3):
        part = slice(8 * head, 8 * head + 8)
        query = (x @ weight[:24][part].T + bias[:24][part]).tolist()
        key = (x @ weight[24:48][part].T + bias[24:48][part]).tolist()
        rows = []
        for q in query:
            scores = [
                math.exp(sum(a * b for a, b in zip(q, k)) / math.sqrt(8))
                for k in key
            ]
            rows.append([score / sum(scores) for score in scores])
        heads.append(rows)
    return np.mean(heads, axis=0)


@torch.no_grad()
def test_attention_equals_a_loop():
    model = build()
    inputs, mutual = [], []
    for block, module in zip(model.image.blocks, model.temporal.values()):
        block.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
        module.register_forward_hook(
            lambda _, args, change: mutual.append(change.token.flatten(0, 1)))
    video = torch.rand(2, 3, 3, 16, 16)
    with record_token_attention(model) as attentions:
        model(video)
    assert len(attentions) == 2
    for block, x, token, found in zip(model.image.blocks, inputs, mutual,
                                      attentions):
        assert found.received.shape == (6, 1 + 4)
        assert found.paid.shape == (6, 1 + 4 + 1)
        assert found.paid.std() > 0.02
        for frame in range(6):
            assert torch.equal(x[frame, -1], token[frame])
            expected = attention_by_loop(x[frame], block)
            np.testing.assert_allclose(
                found.received[frame], expected[:-1, -1], atol=1e-5)
            np.testing.assert_allclose(
                found.paid[frame], expected[-1], atol=1e-5)
        torch.testing.assert_close(found.paid.sum(-1), torch.ones(6))

    model(video)
    assert len(attentions) == 2  # after the context


@torch.no_grad()
def test_only_blocks_with_a_token_are_recorded():
    model = build(num_layers=3, layers=[0, 2])
    blocks, tokens = model.image.blocks, {}
    for number, block in enumerate(blocks):
        block.attn.register_forward_pre_hook(
            lambda _, args, number=number: tokens.update({number: args[0]}))
    with record_token_attention(model) as attentions:
        model(torch.rand(1, 3, 2, 16, 16))
    assert [tokens[number].shape[1] for number in range(3)] == [6, 5, 6]
    assert len(attentions) == 2
    for number, found in zip((0, 2), attentions):
        scores = blocks[number].attn.qkv(tokens[number]).unflatten(
            -1, (3, 3, 8))
        query, key, _ = scores.double().unbind(2)
        weights = torch.einsum('nqhc,nkhc->nhqk', query, key) / 8**0.5
        weights = weights.softmax(-1).mean(1)
        torch.testing.assert_close(found.paid, weights[:, -1].float())


def test_released_alignment_has_no_token():
    with pytest.raises(ValueError, match='ReleasedAlignment has no mutual'):
        with record_token_attention(build(temporal='ReleasedAlignment')):
            pass


@pytest.mark.parametrize('with_self', [False, True])
def test_draw_attention(with_self):
    frames = np.zeros((2, 8, 12, 3), np.uint8)
    frames[1] = 90
    attention = np.random.default_rng(0).random((3, 2, 1 + 6 + with_self))
    attention[2, :, 0] = [0.5, 0.0321]
    attention[2, :, 7:] = 0.25
    figure = draw_attention(frames, attention,
                            DrawingStyle(4, layers=[2, 0], title='a'))
    axes = np.array(figure.axes).reshape(2, 2)
    assert [axis.get_ylabel() for axis in axes[:, 0]] == ['block 2', 'block 0']
    own = ', self 25.00%' if with_self else ''
    assert [axis.get_xlabel() for axis in axes[0]
            ] == [f'class 50.00%{own}', f'class 3.21%{own}']
    for row, layer in zip(axes, (2, 0)):
        scales = set()
        for t, axis in enumerate(row):
            frame, heat = axis.get_images()
            np.testing.assert_array_equal(frame.get_array(),
                                          frames[t].mean(-1))
            np.testing.assert_allclose(
                heat.get_array(), 100 * attention[layer, t, 1:7].reshape(2, 3))
            # Patches lie on the pixels that they are made of.
            assert heat.get_extent() == frame.get_extent()
            scales.add(heat.get_clim())
        assert scales == {(0, 100 * attention[layer, :, 1:7].max())}
        bar, = row[-1].child_axes
        assert bar.get_ylim() == scales.pop()
    figure.draw_without_rendering()


def test_attention_of_numbered_blocks():
    attention = np.zeros((2, 1, 5))
    attention[1] = 0.25
    axis, = draw_attention(
        np.zeros((1, 8, 8, 3), np.uint8), attention,
        DrawingStyle(4, layers=[5], blocks=(2, 5))).axes
    assert axis.get_ylabel() == 'block 5'
    assert axis.get_xlabel() == 'class 25.00%'


def test_attention_of_zero_can_be_drawn():
    figure = draw_attention(
        np.zeros((2, 8, 8, 3), np.uint8), np.zeros((1, 2, 5)), DrawingStyle(4))
    figure.draw_without_rendering()
