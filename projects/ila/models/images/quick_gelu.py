import torch
import torch.nn.functional as F
from mmcv.cnn.bricks.transformer import FFN
from torch import Tensor, nn

from mmaction.registry import MODELS


@MODELS.register_module()
class LeanQuickGELU(nn.Module):
    """QuickGELU, ``x * sigmoid(1.702 x)``, that keeps less for the gradient.

    It equals ``silu(1.702 x) / 1.702``, which keeps one tensor instead of two.
    """
    scale = 1.702

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(self.scale * x).div_(self.scale)


@torch.no_grad()
def fold_quick_gelu(ffn: FFN) -> None:
    """Leave QuickGELU's factors to the linear layers around it, in place."""
    (first, _, _), last = ffn.layers[0], ffn.layers[1]
    for parameter in first.parameters():
        parameter.mul_(LeanQuickGELU.scale)
    last.weight.div_(LeanQuickGELU.scale)
    ffn.layers[0][1] = nn.SiLU(inplace=True)
