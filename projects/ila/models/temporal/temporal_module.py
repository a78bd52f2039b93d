from typing import NamedTuple, Optional

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from ..alignment import ImplicitAlignment


def _may_overwrite() -> bool:
    """Whether tokens may be changed in place; not in gradients or graphs."""
    return not (torch.is_grad_enabled() or torch.compiler.is_compiling()
                or torch.jit.is_tracing())


class TemporalChange(NamedTuple):
    """What a temporal module changes before a block; None changes nothing.

    Attributes:
        token (Tensor, optional): A new token for each frame, ``(B, T, C)``.
        class_token (Tensor, optional): Added to class tokens, ``(B, T, C)``.
        patches (Tensor, optional): Added to patches, ``(B, T, H, W, C)``.
        points (Tensor, optional): Interactive points of the pairs,
            ``(B, T - 1, 2, 2)``, or ``(B, T - 1, 2, K, 2)`` for ``K`` points
            per frame.
        loss (Tensor, optional): Alignment loss, a scalar.
    """
    token: Optional[Tensor] = None
    class_token: Optional[Tensor] = None
    patches: Optional[Tensor] = None
    points: Optional[Tensor] = None
    loss: Optional[Tensor] = None

    def apply(self, tokens: Tensor, num_prefix: int, length: int) -> Tensor:
        """Change the tokens of all frames, and add one to each frame.

        Args:
            tokens (Tensor): ``(B * T, length, C)``, or ``length + 1`` tokens
                if one was added before the previous block, which is dropped.
            num_prefix (int): Number of tokens before the patches.
            length (int): Number of tokens without an added one.
        """
        alone = self.class_token is None and self.patches is None
        if alone and self.token is None:
            return tokens[:, :length]
        if alone and tokens.shape[1] > length and _may_overwrite():
            tokens[:, -1] = self.token.flatten(0, 1)
            return tokens
        parts = [tokens[:, :length]]
        if not alone:
            first = min(1, num_prefix)
            parts = [
                *parts[0].split(
                    (first, num_prefix - first, length - num_prefix), dim=1)
            ]
        if self.class_token is not None:
            parts[0] = parts[0] + self.class_token.flatten(0, 1)[:, None]
        if self.patches is not None:
            parts[2] = parts[2] + self.patches.flatten(2, 3).flatten(0, 1)
        if self.token is not None:
            parts.append(self.token.flatten(0, 1)[:, None].to(tokens.dtype))
        return torch.cat(parts, dim=1)


class TemporalModule(BaseModule):
    """Base class of modules that relate frames before a block of a ViT.

    Attributes:
        alignment (ImplicitAlignment, optional): Finds interactive points.
        released (bool): Whether the authors' released weights fit it.
        needs_class_token (bool): Whether it requires a class token.
        adds_token (bool): Whether it adds a token to each frame.
        hands_on (tuple): Classes to which other keyword arguments are passed.
            The names of these arguments are checked against the classes.
    """
    needs_class_token = False
    adds_token = False
    released = False
    hands_on = ()

    def __init__(self, embed_dims: int, num_heads: int) -> None:
        super().__init__()
        self.embed_dims = embed_dims
        self.num_heads = num_heads
        self.alignment: Optional[ImplicitAlignment] = None

    def attach(self, block: nn.Module) -> None:
        """Prepare the next block, for modules that act inside it."""

    def switch_to_deploy(self) -> None:
        """Fold layers where possible, in place and for inference only."""

    def forward(self,
                patches: Tensor,
                class_token: Optional[Tensor] = None,
                disturb: Optional[bool] = None,
                with_loss: bool = True) -> TemporalChange:
        """Relate frames of patches ``(B, T, H, W, C)``.

        Args:
            class_token (Tensor, optional): ``(B, T, C)``, if the image model
                has one.
            disturb (bool, optional): Whether to disturb the masks. None means
                in training only.
            with_loss (bool): Whether to compute the alignment loss.
        """
        raise NotImplementedError
