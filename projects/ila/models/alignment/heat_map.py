from typing import Optional, Tuple

import torch
import torch.nn as nn
from mmengine.model import BaseModule
from torch import Tensor

from mmaction.registry import MODELS
from .pairs import Pairs


def soft_argmax(logits: Tensor) -> Tensor:
    """Get the mean position under heat maps, in grid units.

    Args:
        logits (Tensor): Logarithms of the heat maps, ``(..., H, W)``.

    Returns:
        Tensor: x and y, ``(..., 2)``: -1 and 1 are the centres of the
        outermost patches.
    """
    # Half precision resolves a coordinate no better than a thousandth.
    heat = logits.float().flatten(-2).softmax(-1).view(logits.shape)
    columns, rows = (
        torch.linspace(-1, 1, side, device=logits.device)
        if side > 1 else heat.new_zeros(1)
        for side in (logits.shape[-1], logits.shape[-2]))
    # ONNX Runtime cannot quantise a product with a constant vector.
    sums = (heat.sum(-2) * columns).sum(-1), (heat.sum(-1) * rows).sum(-1)
    return torch.stack(sums, dim=-1)


@MODELS.register_module()
class HeatMapPredictor(BaseModule):
    """Find a frame's points with heat maps over its own patches.

    The mean over the frames of the video is subtracted from the patches, so
    that only motion remains. A point is the mean position under a heat map,
    and follows what the map responds to; before training, that is where
    features change most. The paper's predictor has to infer positions from
    maxima over all patches instead. An addition of this project.

    Args:
        embed_dims (int): Channels of the patch features.
        channels (int): Channels to which they are reduced.
        hidden_channels (int): Channels of the convolution that follows.
        num_points (int): Points in each frame.
        pairs (Pairs, optional): Defaults to pairs of neighbouring frames.
    """

    def __init__(self,
                 embed_dims: int,
                 channels: int = 64,
                 hidden_channels: int = 32,
                 num_points: int = 1,
                 pairs: Optional[Pairs] = None) -> None:
        super().__init__()
        self.num_points = num_points
        self.pairs = pairs or Pairs()
        self.reduction = nn.Linear(embed_dims, channels)
        self.heat = nn.Sequential(
            nn.Conv2d(channels, hidden_channels, 3, padding=1), nn.GELU(),
            nn.Conv2d(hidden_channels, num_points, 1, bias=False))
        # Weight of the squared motion in the heat maps.
        self.energy = nn.Parameter(torch.ones(num_points))

    def forward(self, patches: Tensor) -> Tuple[None, Tensor]:
        """Find the points of all pairs of patches ``(B, T, H, W, C)``.

        Returns:
            tuple[None, Tensor]: No interaction features, since frames are
            processed one by one; and points in the same format as from
            :class:`InteractivePointPredictor`.
        """
        x = patches.float()
        moving = x - x.mean(1, keepdim=True)
        scale, level = (
            part.square().mean((1, 2, 3, 4), keepdim=True)
            for part in (moving, x))
        # Without this, rounding errors would look like motion in a still
        # video. ONNX's exporter drops constants below 1e-8.
        scale = scale + (1e-6 * level + 1e-7)
        moving = (moving * scale.rsqrt()).flatten(0, 1)
        energy = moving.square().mean(-1).unsqueeze(1)
        x = self.reduction(moving.to(patches.dtype)).permute(0, 3, 1, 2)
        heat = self.heat(x) + self.energy[:, None, None] * energy
        points = soft_argmax(heat).unflatten(0, patches.shape[:2])
        if self.num_points == 1:
            points = points.squeeze(2)
        return None, torch.stack(self.pairs.split(points, points), dim=2)
