from typing import Optional

import torch
from mmpretrain.models.utils import MultiheadAttention
from torch import Tensor, nn

from mmaction.models.backbones.vit_mae import get_sinusoid_encoding
from ..temporal_module import TemporalChange, TemporalModule


class DividedAttention(TemporalModule):
    """The divided attention of TimeSformer (arXiv:2102.05095).

    Each token first attends to the tokens at its position in all frames; the
    block then attends within each frame. Unlike in TimeSformer, every frame
    has its own class token, and temporal position embeddings are sinusoidal,
    so that any number of frames is accepted. The last layer is zero at first.
    """

    def __init__(self, embed_dims: int, num_heads: int) -> None:
        super().__init__(embed_dims, num_heads)
        self.temporal_ln = nn.LayerNorm(embed_dims)
        self.temporal_attn = MultiheadAttention(embed_dims, num_heads)

    def init_weights(self) -> None:
        super().init_weights()
        nn.init.zeros_(self.temporal_attn.proj.weight)
        nn.init.zeros_(self.temporal_attn.proj.bias)

    def forward(self,
                patches: Tensor,
                class_token: Optional[Tensor] = None,
                *args) -> TemporalChange:
        batch, frames, *grid, _ = patches.shape
        tokens = patches.flatten(2, 3)
        if class_token is not None:
            tokens = torch.cat([class_token[:, :, None], tokens], dim=2)
        positions = get_sinusoid_encoding(frames, self.embed_dims).to(tokens)
        # (B * L, T, C)
        places = self.temporal_ln(tokens).transpose(1, 2).flatten(0, 1)
        places = self.temporal_attn(places + positions)
        change = places.unflatten(0, (-1, tokens.shape[2])).transpose(1, 2)
        if class_token is not None:
            class_token, change = change[:, :, 0], change[:, :, 1:]
        return TemporalChange(
            class_token=class_token, patches=change.unflatten(2, grid))
