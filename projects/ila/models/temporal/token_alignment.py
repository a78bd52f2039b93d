from typing import Optional

import torch
import torch.nn as nn
from torch import Tensor

from mmaction.registry import MODELS
from ..alignment import ImplicitAlignment
from .temporal_module import TemporalChange, TemporalModule


@MODELS.register_module()
class TokenAlignment(TemporalModule):
    """The paper's module: a mutual-information token per frame (section 3.3).

    The aligned features of a frame are averaged over its patches and pairs.

    Args:
        difference (bool): Whether to also add the difference of a pair's
            aligned features to class tokens, through a linear layer that is
            zero at first. The paper uses only the mean of these features,
            which does not depend on the order of the frames; the difference
            changes sign with it. An addition of this project.
        **alignment: Arguments of :class:`ImplicitAlignment`.
    """
    adds_token = True
    hands_on = (ImplicitAlignment, )

    def __init__(self,
                 embed_dims: int,
                 num_heads: int,
                 difference: bool = False,
                 **alignment) -> None:
        super().__init__(embed_dims, num_heads)
        self.alignment = ImplicitAlignment(embed_dims, **alignment)
        self.difference_fc = None
        self.needs_class_token = difference
        if difference:
            self.difference_fc = nn.Linear(embed_dims, embed_dims, bias=False)

    def init_weights(self) -> None:
        super().init_weights()
        if self.difference_fc is not None:
            nn.init.zeros_(self.difference_fc.weight)

    def switch_to_deploy(self) -> None:
        self.alignment.switch_to_deploy()

    def forward(self,
                patches: Tensor,
                class_token: Optional[Tensor] = None,
                disturb: Optional[bool] = None,
                with_loss: bool = True) -> TemporalChange:
        alignment = self.alignment
        if disturb is None:
            disturb = self.training
        if not (disturb or with_loss or self.difference_fc
                or torch.is_grad_enabled()):
            token, points = alignment.token(patches)
            return TemporalChange(token=token, points=points)
        _, points, masks = alignment(patches, disturb)
        pooled = alignment.pool(patches, masks)
        difference = None
        if self.difference_fc is not None:
            # Later minus earlier frame, averaged over the pairs of a frame.
            pairs = (pooled[:, :, 1] - pooled[:, :, 0])[:, :, None]
            difference = self.difference_fc(
                alignment.pairs.merge(pairs.expand_as(pooled)))
        return TemporalChange(
            token=alignment.pairs.merge(pooled),
            class_token=difference,
            points=points,
            loss=alignment.loss(patches, masks, pooled) if with_loss else None)
