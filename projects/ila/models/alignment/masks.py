from typing import Tuple

import torch
from torch import Tensor


def soft_mask(points: Tensor,
              size: Tuple[int, int],
              radius: float = 0.25,
              slope: float = 1.5,
              disturbance: float = 0.) -> Tensor:
    """Weight patches by their distance to an interactive point.

    Along each axis the weight is 1 within ``radius`` of the point, then falls
    by ``slope`` per unit of distance and never below 0; a patch's weight is
    the product of both axes (paper, section 3.2). With a ``disturbance`` it
    is the mean over the nine masks whose point is moved by ``-disturbance``,
    0 or ``+disturbance`` along each axis, which is separable as well.

    Args:
        points (Tensor): ``(..., 2)``, x and y in grid units: -1 and 1 are the
            centres of the outermost patches.
        size (tuple[int, int]): Height and width of the patch grid.

    Returns:
        Tensor: ``(..., H, W)``, in [0, 1].
    """

    def axis_weight(centre: Tensor, length: int) -> Tensor:
        grid = torch.linspace(
            -1, 1, length, device=points.device,
            dtype=points.dtype) if length > 1 else points.new_zeros(1)
        distance = grid - centre[..., None]
        if disturbance:
            distance = distance[..., None, :] - torch.linspace(
                -disturbance,
                disturbance,
                3,
                dtype=points.dtype,
                device=points.device)[:, None]
        weight = (1 + slope * radius - slope * distance.abs()).clamp(0, 1)
        return weight.mean(-2) if disturbance else weight

    height, width = size
    if height == width:  # Both axes at once.
        across, along = axis_weight(points, width).unbind(-2)
    else:
        across = axis_weight(points[..., 0], width)
        along = axis_weight(points[..., 1], height)
    return along[..., :, None] * across[..., None, :]


def pair_masks(points: Tensor, *args) -> Tensor:
    """Weight patches by their distance to a frame's interactive points.

    With several points, each patch gets its highest weight, so that points at
    the same position count once and no weight exceeds 1.

    Args:
        points (Tensor): ``(B, T - 1, 2, 2)``, or ``(B, T - 1, 2, K, 2)`` for
            ``K`` points per frame.

    Returns:
        Tensor: ``(B, T - 1, 2, H, W)``, in [0, 1].
    """
    masks = soft_mask(points, *args)
    return masks.amax(3) if points.dim() == 5 else masks
