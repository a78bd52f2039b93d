from typing import Optional

import torch
from torch import Tensor

from ...alignment import Pairs
from ..temporal_module import TemporalChange, TemporalModule


class NeighbourAverage(TemporalModule):
    """The paper's token with an average in place of the alignment.

    The patches of both frames of a pair are averaged into one token, and each
    frame gets the mean of its pairs' tokens. It has no parameters.
    """
    adds_token = True

    def forward(self,
                patches: Tensor,
                class_token: Optional[Tensor] = None,
                *args) -> TemporalChange:
        frames = patches.mean((2, 3))
        pairs = (frames[:, :-1] + frames[:, 1:]) / 2
        return TemporalChange(
            token=Pairs().merge(torch.stack([pairs, pairs], dim=2)))
