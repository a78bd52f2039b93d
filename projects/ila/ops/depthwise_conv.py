import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from .common import as_frames, blocks, compute_dtype, power_of_two


def _row_tile(width: int, size: int) -> dict:
    """Choose the size of a tile of a row of patches that fits registers."""
    width = power_of_two(width)
    return dict(WIDTH=width, CHANNELS=max(16, size // width))


def _depthwise(patches: Tensor, weight: Tensor, bias: Tensor,
               relu: bool) -> Tensor:
    from .kernels import depthwise_conv as kernels
    patches, *strides = as_frames(patches)
    batch, frames, height, width, channels = patches.shape
    out = patches.new_empty(
        batch * (frames - 1),
        height,
        width,
        2 * channels,
        dtype=compute_dtype(patches))
    tile = _row_tile(width, 512)
    grid = batch * frames, blocks(channels, tile['CHANNELS'])
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
        from .kernels import depthwise_conv as kernels
        patches, weight = ctx.saved_tensors
        patches, *strides = as_frames(patches)
        batch, frames, height, width, channels = sizes = patches.shape
        gradient = gradient.contiguous()
        of_patches = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_patches = patches.new_empty(sizes)
            tile = _row_tile(width, 512)
            grid = batch * frames, blocks(channels, tile['CHANNELS'])
            kernels.depthwise_input_gradient[grid](gradient,
                                                   weight.contiguous(),
                                                   of_patches, frames, height,
                                                   width, channels, **tile)
        if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
            # Partial sums, since the order of atomic sums would vary.
            parts = min(64, batch * frames)
            tile = _row_tile(width, 256)
            grid = parts, blocks(channels, tile['CHANNELS'])
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
    """Depthwise 3 x 3 convolution, padded, over pairs of neighbouring frames.

    Each frame is read once for both of its pairs.

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
