from typing import NamedTuple, Optional

from mmengine.model import BaseModule
from torch import Tensor, nn

from ..alignment import ImplicitAlignment


class TemporalChange(NamedTuple):
    """What a temporal module changes before a block; None changes nothing.

    Attributes:
        token (Tensor, optional): A token of each frame that joins the others
            in the block, ``(B, T, C)``.
        class_token (Tensor, optional): Added to the class tokens,
            ``(B, T, C)``.
        patches (Tensor, optional): Added to the patches,
            ``(B, T, H, W, C)``.
        points (Tensor, optional): Interactive points of the pairs,
            ``(B, T - 1, 2, 2)`` or, several per frame,
            ``(B, T - 1, 2, K, 2)``.
        loss (Tensor, optional): Alignment loss, a scalar.
    """
    token: Optional[Tensor] = None
    class_token: Optional[Tensor] = None
    patches: Optional[Tensor] = None
    points: Optional[Tensor] = None
    loss: Optional[Tensor] = None


class TemporalModule(BaseModule):
    """What relates the frames of a video before a block of an image ViT.

    Args:
        embed_dims (int): Channels of the tokens.
        num_heads (int): Heads of the block's attention.

    Attributes:
        alignment (ImplicitAlignment, optional): What finds the interactive
            points; None in modules without.
        needs_class_token (bool): Whether images must have a class token.
        adds_token (bool): Whether a token joins those of the frames.
        hands_on (tuple): Classes that take the keyword arguments which are
            not the module's own.
    """
    needs_class_token = False
    adds_token = False
    hands_on = ()

    def __init__(self, embed_dims: int, num_heads: int) -> None:
        super().__init__()
        self.embed_dims = embed_dims
        self.num_heads = num_heads
        self.alignment: Optional[ImplicitAlignment] = None

    def attach(self, block: nn.Module) -> None:
        """Get to know the block that follows; most need not."""

    def switch_to_deploy(self) -> None:
        """Fold what can be folded, in place and for inference only."""

    def set_disturbance_scale(self, scale: float) -> None:
        """Scale the disturbance of the masks, if there are any."""
        if self.alignment is not None:
            self.alignment.disturbance_scale = scale

    def forward(self,
                patches: Tensor,
                class_token: Optional[Tensor] = None,
                disturb: Optional[bool] = None,
                with_loss: bool = True) -> TemporalChange:
        """Relate the frames.

        Args:
            patches (Tensor): ``(B, T, H, W, C)``.
            class_token (Tensor, optional): ``(B, T, C)``; None for images
                without.
            disturb (bool, optional): Whether to disturb the masks. None means
                in training only.
            with_loss (bool): Whether to compute the alignment loss.
        """
        raise NotImplementedError
