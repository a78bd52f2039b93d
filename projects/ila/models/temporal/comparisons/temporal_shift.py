from typing import Optional

from torch import Tensor, nn

from mmaction.models.backbones import resnet_tsm
from ..temporal_module import TemporalChange, TemporalModule


class TemporalShift(TemporalModule):
    """The temporal shift of TSM (arXiv:1811.08383).

    In self-attention, each token takes one eighth of its channels from the
    same position in the next frame and one eighth from the previous frame, or
    zeros if there is no such frame. The residual path is not shifted. This
    module therefore acts inside the block, on the output of the first norm.
    """

    def attach(self, block: nn.Module) -> None:
        block.norm1.register_forward_hook(self._shift)

    def _shift(self, norm: nn.Module, inputs: tuple, tokens: Tensor) -> Tensor:
        # MMAction2 expects (B * T, C, L, 1).
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
