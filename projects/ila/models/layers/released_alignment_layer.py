from typing import Optional, Tuple

import torch
import torch.nn as nn
from torch import Tensor

from ..common import ReleasedAlignment
from .spatial_layer import SpatialLayer, patch_maps


class ReleasedAlignmentLayer(SpatialLayer):
    """Encoder layer of the authors' released code.

    A linear layer and a norm come before the alignment. The aligned frame and
    the predictor's features are each added to the tokens through a linear
    layer of its own, zero at first, before the self-attention. The class
    token passes by the alignment, but not by those layers.

    Args:
        embed_dims (int): Channels of the tokens.
        alignment (dict): Arguments of :class:`ReleasedAlignment`.
        **kwargs: Arguments of mmpretrain's ``TransformerEncoderLayer``.
    """

    def __init__(self, embed_dims: int, alignment: dict, **kwargs) -> None:
        super().__init__(embed_dims, **kwargs)
        self.message_fc = nn.Linear(embed_dims, embed_dims)
        self.message_ln = nn.LayerNorm(embed_dims)
        self.alignment = ReleasedAlignment(embed_dims, **alignment)
        self.temporal_skip_fc = nn.Linear(embed_dims, embed_dims)
        self.temporal_skip_align_fc = nn.Linear(embed_dims, embed_dims)
        self.class_skip_fc = None

    def init_weights(self) -> None:
        """Initialise; the two skip layers start from zero."""
        super().init_weights()
        for layer in (self.temporal_skip_fc, self.temporal_skip_align_fc):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    @torch.no_grad()
    def switch_to_deploy(self) -> None:
        """Fold what can be folded, for inference only."""
        super().switch_to_deploy()
        self.alignment.switch_to_deploy()
        # The patches' temporal features pass two linear layers in a row, the
        # class token two beside each other.
        first, second = self.alignment.temporal_fc, self.temporal_skip_fc
        beside = self.temporal_skip_align_fc
        self.class_skip_fc = nn.Linear(self.embed_dims,
                                       self.embed_dims).to(second.weight)
        self.class_skip_fc.weight.copy_(second.weight + beside.weight)
        self.class_skip_fc.bias.copy_(second.bias + beside.bias)
        first.bias.copy_(second(first.bias))
        first.weight.copy_(second.weight @ first.weight)
        self.temporal_skip_fc = nn.Identity()

    def _skip_class_token(self, message: Tensor) -> Tensor:
        if self.class_skip_fc is not None:
            return self.class_skip_fc(message)
        return self.temporal_skip_fc(message) + self.temporal_skip_align_fc(
            message)

    def forward(
            self,
            x: Tensor,
            grid: Tuple[int, int, int],
            disturb: Optional[bool] = None,
            with_loss: bool = True) -> Tuple[Tensor, Tensor, Optional[Tensor]]:
        """Run the layer; see :meth:`SpatialLayer.forward`."""
        message = self.message_ln(self.message_fc(x))
        aligned, temporal, points, loss = self.alignment(
            patch_maps(message, grid), disturb, with_loss)

        skip = self.temporal_skip_fc(temporal) + self.temporal_skip_align_fc(
            aligned)
        x = x + torch.cat([
            self._skip_class_token(message[:, :1]),
            skip.flatten(2, 3).flatten(0, 1)
        ],
                          dim=1)
        x = self.attend(x, grid)
        return self.ffn(self.ln2(x), identity=x), points, loss
