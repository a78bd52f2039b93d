from typing import Optional, Tuple

import torch
from torch import Tensor

from ..common import ImplicitAlignment
from .spatial_layer import SpatialLayer, patch_maps


def add_to_class_tokens(x: Tensor, change: Optional[Tensor]) -> Tensor:
    """Add something to the class tokens.

    Args:
        x (Tensor): Class and other tokens, ``(B * T, 1 + L, C)``.
        change (Tensor, optional): ``(B, T, C)``.

    Returns:
        Tensor: Like ``x``.
    """
    if change is None:
        return x
    return torch.cat([x[:, :1] + change.flatten(0, 1)[:, None], x[:, 1:]],
                     dim=1)


class TokenAlignmentLayer(SpatialLayer):
    """Encoder layer of the paper (section 3.3).

    The aligned features of a frame are averaged into one mutual-information
    token. It joins the frame's tokens in the self-attention and is dropped
    before the MLP. With ``alignment.difference`` the class token takes the
    difference of aligned frames as well, before the self-attention.

    Args:
        embed_dims (int): Channels of the tokens.
        alignment (dict): Arguments of :class:`ImplicitAlignment`.
        **kwargs: Arguments of mmpretrain's ``TransformerEncoderLayer``.
    """

    def __init__(self, embed_dims: int, alignment: dict, **kwargs) -> None:
        super().__init__(embed_dims, **kwargs)
        self.alignment = ImplicitAlignment(embed_dims, **alignment)

    def switch_to_deploy(self) -> None:
        """Fold what can be folded, for inference only."""
        super().switch_to_deploy()
        self.alignment.switch_to_deploy()

    def forward(
            self,
            x: Tensor,
            grid: Tuple[int, int, int],
            disturb: Optional[bool] = None,
            with_loss: bool = True) -> Tuple[Tensor, Tensor, Optional[Tensor]]:
        """Run the layer; see :meth:`SpatialLayer.forward`."""
        mutual, change, points, loss = self.alignment(
            patch_maps(x, grid), disturb, with_loss)
        x = self.attend_with(add_to_class_tokens(x, change), mutual)
        return self.ffn(self.ln2(x), identity=x), points, loss
