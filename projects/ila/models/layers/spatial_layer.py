from typing import Optional, Tuple

import torch
from mmpretrain.models.backbones.vision_transformer import \
    TransformerEncoderLayer
from torch import Tensor

from ..common import fold_quick_gelu


def patch_maps(tokens: Tensor, grid: Tuple[int, int, int]) -> Tensor:
    """Take the patches of all frames from their tokens.

    Args:
        tokens (Tensor): Class and patch tokens, ``(B * T, 1 + H * W, C)``.
        grid (tuple[int, int, int]): ``(T, H, W)``.

    Returns:
        Tensor: ``(B, T, H, W, C)``.
    """
    return tokens[:, 1:].unflatten(1, grid[1:]).unflatten(0, (-1, grid[0]))


class SpatialLayer(TransformerEncoderLayer):
    """CLIP's encoder layer, in which each frame is on its own.

    The layers with time build on it.
    """

    def switch_to_deploy(self) -> None:
        """Fold what can be folded, for inference only."""
        fold_quick_gelu(self.ffn)

    def attend(self, x: Tensor, grid: Tuple[int, int, int]) -> Tensor:
        """Run all that comes before the MLP, with its residual paths.

        Args:
            x (Tensor): Class and patch tokens, ``(B * T, 1 + H * W, C)``.
            grid (tuple[int, int, int]): ``(T, H, W)``.

        Returns:
            Tensor: Like ``x``.
        """
        return x + self.attn(self.ln1(x))

    def attend_with(self, x: Tensor, token: Tensor) -> Tensor:
        """Let one more token of each frame join the self-attention.

        Args:
            x (Tensor): Class and patch tokens, ``(B * T, 1 + H * W, C)``.
            token (Tensor): ``(B, T, C)``; dropped behind the attention.

        Returns:
            Tensor: Like ``x``.
        """
        tokens = torch.cat([x, token.flatten(0, 1)[:, None]], dim=1)
        return x + self.attn(self.ln1(tokens))[:, :-1]

    def forward(
        self,
        x: Tensor,
        grid: Tuple[int, int, int],
        disturb: Optional[bool] = None,
        with_loss: bool = True
    ) -> Tuple[Tensor, Optional[Tensor], Optional[Tensor]]:
        """Run the layer.

        Args:
            x (Tensor): Class and patch tokens, ``(B * T, 1 + H * W, C)``.
            grid (tuple[int, int, int]): ``(T, H, W)``.
            disturb (bool, optional): See :class:`ImplicitAlignment`; unused
                without an alignment.
            with_loss (bool): Whether to compute the alignment loss, if there
                is one.

        Returns:
            tuple: Tokens like ``x``, points ``(B, T - 1, 2, 2)`` and the
            alignment loss (scalar or None); without an alignment the points
            are None too.
        """
        x = self.attend(x, grid)
        return self.ffn(self.ln2(x), identity=x), None, None
