import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from .common import as_frames, blocks


class _PairPool(Function):

    @staticmethod
    def forward(ctx, patches, masks):
        from .kernels import average as kernels
        patches, *strides = as_frames(patches)
        masks = masks.contiguous()
        batch, frames, height, width, channels = patches.shape
        out = patches.new_empty(batch, frames - 1, 2, channels)
        kernels.pool[(batch * frames, blocks(channels, 128))](
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
        from .kernels import average as kernels
        patches, masks = ctx.saved_tensors
        patches, *strides = as_frames(patches)
        batch, frames, height, width, channels = patches.shape
        area, gradient = height * width, gradient.contiguous()
        of_patches = of_masks = None
        if ctx.needs_input_grad[0]:
            of_patches = patches.new_empty(patches.shape)
            grid = batch * frames, blocks(area, 32), blocks(channels, 128)
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
            grid = batch * frames, blocks(area, 16)
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
    """Average patches of pairs of neighbouring frames, weighted by masks.

    Args:
        patches (Tensor): ``(B, T, H, W, C)``.
        masks (Tensor): ``(B, T - 1, 2, H, W)``.

    Returns:
        Tensor: ``(B, T - 1, 2, C)``.
    """
    return _PairPool.apply(patches, masks)


def pair_tokens(patches: Tensor, points: Tensor, radius: float,
                slope: float) -> Tensor:
    """Average frames, weighted by masks of their points, for inference.

    Args:
        patches (Tensor): ``(B, T, H, W, C)``.
        points (Tensor): ``(B, T - 1, 2, 2)`` or ``(B, T - 1, 2, K, 2)``.
        radius (float): See :func:`soft_mask`.
        slope (float): See :func:`soft_mask`.

    Returns:
        Tensor: Means over a frame's patches and pairs, ``(B, T, C)``.
    """
    from .kernels import average as kernels
    patches, *strides = as_frames(patches)
    batch, frames, height, width, channels = patches.shape
    out = patches.new_empty(batch, frames, channels)
    kernels.token[(batch * frames, blocks(channels, 64))](
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
