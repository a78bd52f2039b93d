from typing import Optional, Tuple

import torch
import torch.nn as nn
from mmengine.model import BaseModule, ModuleList
from mmengine.model.weight_init import trunc_normal_
from mmpretrain.models.backbones.vision_transformer import \
    TransformerEncoderLayer
from torch import Tensor

from mmaction.registry import MODELS
from ...utils.num_heads import find_num_heads
from .frame_positions import resize_loaded_positions, resize_positions


@MODELS.register_module()
class TrajectoryTransformer(BaseModule):
    """Light transformer over the positions of interactive points.

    Without ``in_channels`` it sees nothing else of a video, so it cannot
    memorise the appearance of people and rooms. An addition of this project.

    Args:
        embed_dims (int): Channels of the video features.
        in_channels (int, optional): Channels of the frame features, if these
            are used as well.
        num_points (int): Points in each frame, of all temporal layers.
        num_frames (int): Number of frames of the position embedding, which is
            interpolated for other numbers.
        num_layers (int): Number of layers.
        jitter (float): Standard deviation of a random shift of a video's
            points in training, in grid units, and of the logarithm of a
            random scale.
        drop_rate (float): Dropout rate of the layers.
    """

    def __init__(self,
                 embed_dims: int = 128,
                 in_channels: Optional[int] = None,
                 num_points: int = 1,
                 num_frames: int = 8,
                 num_layers: int = 1,
                 jitter: float = 0.25,
                 drop_rate: float = 0.1,
                 init_cfg: Optional[dict] = None) -> None:
        super().__init__(init_cfg)
        num_heads = find_num_heads(embed_dims, 'model.neck.embed_dims', 32)
        self.embed_dims = embed_dims
        self.num_points = num_points
        self.jitter = jitter
        self.in_channels = in_channels
        self.embedding = nn.Linear(4 * num_points, embed_dims)
        self.frame_embedding = None
        if in_channels is not None:
            self.frame_embedding = nn.Linear(in_channels, embed_dims)
        self.pos_embed = nn.Parameter(torch.zeros(1, num_frames, embed_dims))
        self._register_load_state_dict_pre_hook(
            resize_loaded_positions, with_module=True)
        self.layers = ModuleList(
            TransformerEncoderLayer(
                embed_dims,
                num_heads=num_heads,
                feedforward_channels=2 * embed_dims,
                drop_rate=drop_rate) for _ in range(num_layers))

    def init_weights(self) -> None:
        super().init_weights()
        trunc_normal_(self.pos_embed, std=0.02)

    def _disturb(self, places: Tensor) -> Tensor:
        """Shift and scale all points ``(B, T, K, 2)`` of a video at random."""
        scale, shift = (
            self.jitter *
            torch.randn(len(places), 1, 1, 2, device=places.device)
            for _ in range(2))
        return places * scale.exp() + shift

    def forward(self, x: Tensor, points: Tensor) -> Tuple[Tensor, dict]:
        """Integrate frame features and interactive points.

        Args:
            x (Tensor): ``(B, T, in_channels)``.
            points (Tensor): ``(B, T, num_points, 2)``.

        Returns:
            tuple[Tensor, dict]: Video features ``(B, embed_dims)`` and no
            losses, as MMAction2 expects of a neck.
        """
        if self.training:
            points = self._disturb(points)
        steps = points.diff(dim=1, append=points[:, -1:])
        out = self.embedding(
            torch.cat([points, 4 * steps], dim=-1).flatten(2).to(x.dtype))
        if self.frame_embedding is not None:
            out = out + self.frame_embedding(x)
        out = out + resize_positions(self.pos_embed, points.shape[1])
        for layer in self.layers:
            out = layer(out)
        return out.mean(dim=1), dict()
