import os
from importlib.util import find_spec
from typing import Tuple

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

HAS_TRITON = find_spec('triton') is not None
INTERPRETED = os.environ.get('TRITON_INTERPRET') == '1'  # On a CPU.
DTYPES = torch.float32, torch.float16, torch.bfloat16


def has_kernels(x: Tensor) -> bool:
    """Whether Triton kernels can compute with a tensor."""
    return (HAS_TRITON and (x.is_cuda or INTERPRETED) and x.dtype in DTYPES
            and not torch.jit.is_tracing())


def compute_dtype(patches: Tensor) -> torch.dtype:
    """Get the type in which a convolution computes, autocast or not."""
    kind = patches.device.type
    if torch.is_autocast_enabled(kind):
        return torch.get_autocast_dtype(kind)
    return patches.dtype


def _as_frames(patches: Tensor) -> Tuple[Tensor, int, int]:
    """Get patches with the strides of a frame and of a patch.

    Those of a view of tokens are kept, others are copied.
    """
    frame, patch = patches.stride(1), patches.stride(3)
    if patches.stride() != (patches.shape[1] * frame, frame,
                            patches.shape[3] * patch, patch, 1):
        patches = patches.contiguous()
        frame, patch = patches.stride(1), patches.stride(3)
    return patches, frame, patch


def _blocks(size: int, block: int) -> int:
    return (size + block - 1) // block


def _power_of_two(size: int) -> int:
    return 1 << (size - 1).bit_length()


def _row_tile(width: int, size: int) -> dict:
    """Choose a tile of a row of patches that stays in registers."""
    width = _power_of_two(width)
    return dict(WIDTH=width, CHANNELS=max(16, size // width))


def _depthwise(patches: Tensor, weight: Tensor, bias: Tensor,
               relu: bool) -> Tensor:
    from . import kernels
    patches, *strides = _as_frames(patches)
    batch, frames, height, width, channels = patches.shape
    out = patches.new_empty(
        batch * (frames - 1),
        height,
        width,
        2 * channels,
        dtype=compute_dtype(patches))
    tile = _row_tile(width, 512)
    grid = batch * frames, _blocks(channels, tile['CHANNELS'])
    kernels.depthwise[grid](
        patches,
        weight.contiguous(),
        bias,
        out,
        frames,
        height,
        width,
        channels,
        *strides,
        RELU=relu,
        **tile)
    return out


class _PairDepthwiseConv(Function):

    @staticmethod
    def forward(ctx, patches, weight, bias):
        ctx.save_for_backward(patches, weight)
        return _depthwise(patches, weight, bias, relu=False)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        from . import kernels
        patches, weight = ctx.saved_tensors
        patches, *strides = _as_frames(patches)
        batch, frames, height, width, channels = sizes = patches.shape
        gradient = gradient.contiguous()
        of_patches = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_patches = patches.new_empty(sizes)
            tile = _row_tile(width, 512)
            grid = batch * frames, _blocks(channels, tile['CHANNELS'])
            kernels.depthwise_input_gradient[grid](gradient,
                                                   weight.contiguous(),
                                                   of_patches, frames, height,
                                                   width, channels, **tile)
        if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
            # Partial sums instead of atomic ones, whose order would differ.
            parts = min(64, batch * frames)
            tile = _row_tile(width, 256)
            grid = parts, _blocks(channels, tile['CHANNELS'])
            sums = patches.new_empty(
                parts, 2, 4, 4, channels, dtype=torch.float32)
            kernels.depthwise_weight_gradient[grid](patches, gradient, sums,
                                                    batch * frames, frames,
                                                    height, width, channels,
                                                    *strides, **tile)
            sums = sums.sum(0).movedim(-1, 1).flatten(0, 1).to(weight.dtype)
            of_weight, of_bias = sums[:, None, :3, :3], sums[:, 3, 0]
        return of_patches, of_weight, of_bias


def pair_depthwise_conv(patches: Tensor,
                        weight: Tensor,
                        bias: Tensor,
                        relu: bool = False) -> Tensor:
    """Convolve pairs of neighbouring frames depthwise, 3 x 3, padded.

    It reads each frame once for both pairs that it is in.

    Args:
        patches (Tensor): ``(B, T, H, W, C)``.
        weight (Tensor): ``(2 * C, 1, 3, 3)``; the first half is for the
            earlier frame.
        bias (Tensor): ``(2 * C, )``.
        relu (bool): Whether ReLU follows; for inference only.

    Returns:
        Tensor: ``(B * (T - 1), 2 * C, H, W)``, channels last in memory.
    """
    if relu:
        out = _depthwise(patches, weight, bias, relu)
    else:
        out = _PairDepthwiseConv.apply(patches, weight, bias)
    return out.permute(0, 3, 1, 2)


class _PairPool(Function):

    @staticmethod
    def forward(ctx, patches, masks):
        from . import kernels
        patches, *strides = _as_frames(patches)
        masks = masks.contiguous()
        batch, frames, height, width, channels = patches.shape
        out = patches.new_empty(batch, frames - 1, 2, channels)
        kernels.pool[(batch * frames, _blocks(channels, 128))](
            patches,
            masks,
            out,
            frames,
            height * width,
            channels,
            *strides,
            ROWS=16,
            CHANNELS=128)
        ctx.save_for_backward(patches, masks)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        from . import kernels
        patches, masks = ctx.saved_tensors
        patches, *strides = _as_frames(patches)
        batch, frames, height, width, channels = patches.shape
        area, gradient = height * width, gradient.contiguous()
        of_patches = of_masks = None
        if ctx.needs_input_grad[0]:
            of_patches = patches.new_empty(patches.shape)
            grid = batch * frames, _blocks(area, 32), _blocks(channels, 128)
            kernels.pool_patch_gradient[grid](
                masks,
                gradient,
                of_patches,
                frames,
                area,
                channels,
                ROWS=32,
                CHANNELS=128)
        if ctx.needs_input_grad[1]:
            of_masks = torch.empty_like(masks)
            grid = batch * frames, _blocks(area, 16)
            kernels.pool_mask_gradient[grid](
                patches,
                gradient,
                of_masks,
                frames,
                area,
                channels,
                *strides,
                ROWS=16,
                CHANNELS=128)
        return of_patches, of_masks


def pair_pool(patches: Tensor, masks: Tensor) -> Tensor:
    """Average the patches of pairs of neighbouring frames under their masks.

    Args:
        patches (Tensor): ``(B, T, H, W, C)``.
        masks (Tensor): ``(B, T - 1, 2, H, W)``.

    Returns:
        Tensor: ``(B, T - 1, 2, C)``.
    """
    return _PairPool.apply(patches, masks)


def pair_points(interaction: Tensor, prediction: nn.Conv2d, first: nn.Conv2d,
                second: nn.Conv2d, limit: float) -> Tensor:
    """Predict points from a pair's features, for inference in half precision.

    Args:
        interaction (Tensor): ``(P, channels, H, W)``.
        prediction (nn.Conv2d): The 3 x 3 convolution between the poolings.
        first (nn.Conv2d): 1 x 1, in two groups, before ReLU.
        second (nn.Conv2d): Likewise, before tanh.
        limit (float): Largest coordinate.

    Returns:
        Tensor: ``(P, 4 * num_points)``, in float32.
    """
    from . import kernels
    interaction = interaction.permute(0, 2, 3, 1).contiguous()
    pairs, height, width, channels = interaction.shape
    weight = prediction.weight.to(interaction.dtype)
    hidden, inner, outputs = map(len, (weight, first.weight, second.weight))
    out = interaction.new_empty(pairs, outputs, dtype=torch.float32)
    kernels.points[(pairs, )](
        interaction,
        weight,
        prediction.bias,
        first.weight.contiguous(),
        first.bias,
        second.weight.contiguous(),
        second.bias,
        out,
        limit,
        height,
        width,
        channels,
        hidden,
        inner,
        outputs,
        weight.stride(0),
        weight.stride(1),
        weight.stride(3),
        ROWS=64,
        CHANNELS=64,
        HIDDEN=max(16, _power_of_two(hidden)),
        INNER=_power_of_two(inner),
        OUTPUTS=_power_of_two(outputs))
    return out


def pair_tokens(patches: Tensor, points: Tensor, radius: float,
                slope: float) -> Tensor:
    """Average frames under the masks of neighbours' points, for inference.

    Args:
        patches (Tensor): ``(B, T, H, W, C)``.
        points (Tensor): ``(B, T - 1, 2, 2)`` or ``(B, T - 1, 2, K, 2)``.
        radius (float): See :func:`soft_mask`.
        slope (float): See :func:`soft_mask`.

    Returns:
        Tensor: Means over a frame's patches and pairs, ``(B, T, C)``.
    """
    from . import kernels
    patches, *strides = _as_frames(patches)
    batch, frames, height, width, channels = patches.shape
    out = patches.new_empty(batch, frames, channels)
    kernels.token[(batch * frames, _blocks(channels, 64))](
        patches,
        points.contiguous(),
        out,
        frames,
        height,
        width,
        channels,
        *strides,
        points[0, 0, 0].numel() // 2,
        radius,
        slope,
        ROWS=32,
        CHANNELS=64)
    return out
