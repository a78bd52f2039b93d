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
        difference (bool): Whether class tokens get the difference of a pair's
            aligned features as well, through a linear layer that is zero at
            first. Their mean, which is all that the paper takes of them, is
            the same in either order of frames; the difference changes its
            sign. It is an addition of this project.
        trajectory (bool): Whether class tokens get the frame's interactive
            points and their displacements as well, through a linear layer
            that is zero at first. It is an addition of this project.
        **alignment: Arguments of :class:`ImplicitAlignment`.
    """
    adds_token = True
    hands_on = (ImplicitAlignment, )

    def __init__(self,
                 embed_dims: int,
                 num_heads: int,
                 difference: bool = False,
                 trajectory: bool = False,
                 **alignment) -> None:
        super().__init__(embed_dims, num_heads)
        self.alignment = ImplicitAlignment(embed_dims, **alignment)
        self.difference_fc = self.trajectory_fc = None
        self.needs_class_token = difference or trajectory
        if difference:
            self.difference_fc = nn.Linear(embed_dims, embed_dims, bias=False)
        if trajectory:
            coordinates = 4 * self.alignment.predictor.num_points
            self.trajectory_fc = nn.Linear(coordinates, embed_dims, bias=False)

    def init_weights(self) -> None:
        super().init_weights()
        for layer in (self.difference_fc, self.trajectory_fc):
            if layer is not None:
                nn.init.zeros_(layer.weight)

    def switch_to_deploy(self) -> None:
        self.alignment.switch_to_deploy()

    def _difference(self, pairs: Tensor) -> Tensor:
        """Later minus earlier frame, the mean over the pairs of a frame."""
        difference = (pairs[:, :, 1] - pairs[:, :, 0])[:, :, None]
        return self.alignment.pairs.merge(difference.expand_as(pairs))

    def forward(self,
                patches: Tensor,
                class_token: Optional[Tensor] = None,
                disturb: Optional[bool] = None,
                with_loss: bool = True) -> TemporalChange:
        alignment = self.alignment
        _, points, masks = alignment(patches, disturb)
        pooled = alignment.pool(patches, masks)
        additions = []
        if self.difference_fc is not None:
            additions.append(self.difference_fc(self._difference(pooled)))
        if self.trajectory_fc is not None:
            places = points.flatten(3).to(patches.dtype)
            additions.append(
                self.trajectory_fc(
                    torch.cat([
                        alignment.pairs.merge(places),
                        self._difference(places)
                    ],
                              dim=-1)))
        return TemporalChange(
            token=alignment.pairs.merge(pooled),
            class_token=sum(additions) if additions else None,
            points=points,
            loss=alignment.loss(patches, masks, pooled) if with_loss else None)
