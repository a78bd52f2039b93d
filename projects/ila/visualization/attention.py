from contextlib import ExitStack, contextmanager
from typing import Callable, Iterator, List, NamedTuple

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .alignment import grid_size
from .grid import cell_size, make_grid
from .style import PLAIN, DrawingStyle


class TokenAttention(NamedTuple):
    """Attention of the mutual-information tokens of ``B`` videos in one block.

    It is averaged over the heads. ``L`` is the number of patches.

    Attributes:
        received (Tensor): Attention of the class token and the patches to the
            token of their frame, ``(B * T, 1 + L)``.
        paid (Tensor): Attention of the token to the class token, the patches
            and itself, ``(B * T, 1 + L + 1)``. It has no effect, since the
            token is dropped after the block.
    """
    received: Tensor
    paid: Tensor


class _AttentionMode(TorchFunctionMode):
    """Pass the weights of every attention, fused or not, to a function."""

    def __init__(self, record: Callable[[Tensor], None]) -> None:
        super().__init__()
        self.record = record

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func is F.scaled_dot_product_attention:
            query, key = (x.float() for x in args[:2])
            scores = query @ key.transpose(-2, -1) / query.shape[-1]**0.5
            self.record(scores.softmax(-1))
        elif func in (Tensor.softmax, torch.softmax, F.softmax):
            self.record(result)
        return result


def has_token_attention(backbone: nn.Module) -> bool:
    """Whether attention includes an added token and a class token."""
    return backbone.adds_token and backbone.image.has_class_token


@contextmanager
def record_token_attention(
        backbone: nn.Module) -> Iterator[List[TokenAttention]]:
    """Record the attention of the mutual-information tokens.

    Args:
        backbone (nn.Module): An ``ILABackbone`` with ``TokenAlignment``, not
            compiled.

    Yields:
        list[TokenAttention]: Each block with such tokens adds an entry when it
        runs within the context.

    Raises:
        ValueError: The backbone has no such tokens.
    """
    if not has_token_attention(backbone):
        raise ValueError(
            f'the temporal module {backbone.temporal_type} has no '
            'mutual-information token, or the images no class token; take a '
            'model with `TokenAlignment` and a class token')
    attentions, prefix = [], backbone.image.num_prefix

    def record(weights: Tensor) -> None:
        # Registers, which come after the class token, are left out.
        kept = [0, *range(prefix, weights.shape[-1])]
        weights = weights.detach().float().mean(1)[:, kept][:, :, kept]
        attentions.append(TokenAttention(weights[:, :-1, -1], weights[:, -1]))

    with ExitStack() as stack:
        for number in backbone.temporal_layers:
            attn = backbone.image.blocks[number].attn
            mode = _AttentionMode(record)
            stack.enter_context(
                attn.register_forward_pre_hook(
                    lambda *_, mode=mode: mode.__enter__() and None))
            stack.enter_context(
                attn.register_forward_hook(
                    lambda *_, mode=mode: mode.__exit__(None, None, None)))
        yield attentions


def draw_attention(frames: np.ndarray,
                   attention: np.ndarray,
                   style: DrawingStyle = PLAIN) -> Figure:
    """Draw the attention of a video's mutual-information tokens as heat maps.

    Rows are blocks, each with its own scale, and columns are frames. The value
    of the class token, and of the token itself if present, are written below.

    Args:
        frames (np.ndarray): ``(T, H, W, 3)``, uint8, RGB.
        attention (np.ndarray): ``(layers, T, 1 + L)`` or
            ``(layers, T, 1 + L + 1)``, see :class:`TokenAttention`.
        style (DrawingStyle): For instance ``DrawingStyle.of(model)``.
    """
    chosen = style.choose(attention)
    height, width = grid_size(frames, style)
    figure, axes = make_grid(
        len(chosen),
        len(frames),
        cell_size(frames[0], 1.5),
        style.title,
        captions=0.2,
        right=0.9)
    for t, axis in enumerate(axes[0]):
        axis.set_title(f't = {t}', fontsize=9)

    # As bright as possible, since heat maps darken the frames.
    grey = frames.mean(-1)
    grey_range = dict(vmin=grey.min(), vmax=grey.max())
    for row, (layer, own) in zip(axes, chosen.items()):
        row[0].set_ylabel(f'block {layer}', fontsize=9)
        percent = 100 * own
        maps = percent[:, 1:1 + height * width].reshape(-1, height, width)
        for t, axis in enumerate(row):
            axis.imshow(grey[t], cmap='gray', **grey_range)
            image = axis.imshow(
                maps[t],
                cmap='inferno',
                alpha=0.5,
                vmin=0,
                vmax=maps.max(),
                # The first pixel's centre is 0.
                extent=(-0.5, frames.shape[2] - 0.5, frames.shape[1] - 0.5,
                        -0.5))
            caption = f'class {percent[t, 0]:.2f}%'
            if percent.shape[1] > 1 + height * width:
                caption += f', self {percent[t, -1]:.2f}%'
            axis.set_xlabel(caption, fontsize=7, labelpad=2)
        bar = row[-1].inset_axes([1.06, 0, 0.08, 1])
        figure.colorbar(image, cax=bar, format='%.2g%%')
        bar.tick_params(labelsize=8)
    return figure
