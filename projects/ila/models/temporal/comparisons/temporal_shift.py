from typing import Optional

from torch import Tensor, nn

from mmaction.models.backbones import resnet_tsm
from ..temporal_module import TemporalChange, TemporalModule


class TemporalShift(TemporalModule):
    """The temporal shift of TSM (arXiv:1811.08383).

    In the self-attention each token takes an eighth of its channels from the
    same place of the next frame and another eighth from the frame before,
    zeros where there is none. The residual path is not shifted, so this module
    alone acts within the block, on the result of its first normalisation.
    """

    def attach(self, block: nn.Module) -> None:
        block.norm1.register_forward_hook(self._shift)

    def _shift(self, norm: nn.Module, inputs: tuple, tokens: Tensor) -> Tensor:
        # As MMAction2 wants it, (B * T, C, L, 1).
        maps = tokens.transpose(1, 2)[..., None]
        shifted = resnet_tsm.TemporalShift.shift(
            maps, self.frames, shift_div=8)
        return shifted.squeeze(-1).transpose(1, 2)

    def forward(self,
                patches: Tensor,
                class_token: Optional[Tensor] = None,
                *args) -> TemporalChange:
        self.frames = patches.shape[1]
        return TemporalChange()
