import torch
import torch.nn.functional as F
from mmcv.cnn.bricks.transformer import FFN
from torch import Tensor, nn

# QuickGELU is x * sigmoid(1.702 x), or silu(1.702 x) / 1.702.
QUICK_GELU_SCALE = 1.702


class ScaledLinear(nn.Linear):
    """Linear layer that scales its parameters in each forward pass.

    This is cheaper than scaling its input or output.

    Args:
        linear (nn.Linear): The layer that it replaces.
        weight_scale (float): Factor of the weight.
        bias_scale (float): Factor of the bias.
    """

    def __init__(self, linear: nn.Linear, weight_scale: float,
                 bias_scale: float) -> None:
        super().__init__(
            linear.in_features, linear.out_features, device='meta')
        self.weight, self.bias = linear.weight, linear.bias
        self.weight_scale = weight_scale
        self.bias_scale = bias_scale

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.weight, self.bias
        if self.weight_scale != 1:
            weight = weight * self.weight_scale
        if self.bias_scale != 1:
            bias = bias * self.bias_scale
        return F.linear(x, weight, bias)

    @torch.no_grad()
    def fold(self) -> None:
        """Scale the parameters once and for all, for inference."""
        self.weight.mul_(self.weight_scale)
        self.bias.mul_(self.bias_scale)
        self.weight_scale = self.bias_scale = 1.


def use_quick_gelu(ffn: FFN) -> None:
    """Make a feed-forward network use QuickGELU, as SiLU and scaled layers.

    SiLU needs one kernel and saves one tensor for the backward pass;
    QuickGELU needs three kernels and saves two tensors.
    """
    scale = QUICK_GELU_SCALE
    first = ffn.layers[0]
    first[0] = ScaledLinear(first[0], scale, scale)
    first[1] = nn.SiLU()
    ffn.layers[1] = ScaledLinear(ffn.layers[1], 1 / scale, 1.)
