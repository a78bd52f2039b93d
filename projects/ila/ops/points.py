import torch
from torch import Tensor, nn

from .common import power_of_two


def pair_points(interaction: Tensor, prediction: nn.Conv2d, first: nn.Conv2d,
                second: nn.Conv2d, limit: float) -> Tensor:
    """Predict points from a pair's features, for inference in half precision.

    Args:
        interaction (Tensor): ``(P, channels, H, W)``.
        prediction (nn.Conv2d): The 3 x 3 convolution between the poolings.
        first (nn.Conv2d): 1 x 1, with two groups, before ReLU.
        second (nn.Conv2d): 1 x 1, with two groups, before tanh.
        limit (float): Largest coordinate.

    Returns:
        Tensor: ``(P, 4 * num_points)``, in float32.
    """
    from .kernels import points as kernels
    interaction = interaction.permute(0, 2, 3, 1).contiguous()
    pairs, height, width, channels = interaction.shape
    weight = prediction.weight.to(interaction.dtype)
    hidden, inner, outputs = map(len, (weight, first.weight, second.weight))
    out = interaction.new_empty(pairs, outputs, dtype=torch.float32)
    kernels.points[(pairs, )](
        interaction,
        weight,
        prediction.bias,
        first.weight.contiguous(),
        first.bias,
        second.weight.contiguous(),
        second.bias,
        out,
        limit,
        height,
        width,
        channels,
        hidden,
        inner,
        outputs,
        weight.stride(0),
        weight.stride(1),
        weight.stride(3),
        ROWS=64,
        CHANNELS=64,
        HIDDEN=max(16, power_of_two(hidden)),
        INNER=power_of_two(inner),
        OUTPUTS=power_of_two(outputs))
    return out
