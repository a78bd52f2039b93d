from typing import Tuple

import torch
from torch import Tensor

from ..common import merge_neighbours
from .spatial_layer import SpatialLayer, patch_maps


class NeighbourPoolingLayer(SpatialLayer):
    """Encoder layer in which neighbouring frames share their average.

    It is the token form's layer with an average in place of the alignment:
    the patches of both frames of a pair are averaged to one token, a frame
    takes the mean of its pairs' tokens, and that joins its self-attention.
    There are no parameters, and reversed frames give reversed features.
    """

    def attend(self, x: Tensor, grid: Tuple[int, int, int]) -> Tensor:
        """Average and attend; see :meth:`SpatialLayer.attend`."""
        frames = patch_maps(x, grid).mean((2, 3))
        pairs = (frames[:, :-1] + frames[:, 1:]) / 2
        tokens = merge_neighbours(torch.stack([pairs, pairs], dim=2))
        return self.attend_with(x, tokens)
