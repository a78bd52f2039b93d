from typing import Tuple

from torch import Tensor

from mmaction.models.backbones.resnet_tsm import TemporalShift
from .spatial_layer import SpatialLayer


class ShiftLayer(SpatialLayer):
    """Encoder layer with the temporal shift of TSM (arXiv:1811.08383).

    Before the self-attention each token takes an eighth of its channels from
    the same place of the next frame and another eighth from the frame before,
    zeros where there is none. What is shifted is normalised already; the
    residual path is not shifted. It has no parameters, but other features
    than CLIP from the start.
    """

    def attend(self, x: Tensor, grid: Tuple[int, int, int]) -> Tensor:
        """Shift and attend; see :meth:`SpatialLayer.attend`."""
        # As MMAction2 wants it, (B * T, C, L, 1).
        maps = self.ln1(x).transpose(1, 2)[..., None]
        shifted = TemporalShift.shift(maps, grid[0], shift_div=8)
        return x + self.attn(shifted.squeeze(-1).transpose(1, 2))
