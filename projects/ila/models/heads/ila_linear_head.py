from typing import Tuple

import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from mmaction.registry import MODELS
from .ila_head import ILAHead


@MODELS.register_module()
class ILALinearHead(ILAHead):
    """Linear classifier on the normalised video feature.

    Args:
        dropout_ratio (float): Dropout before the linear layer.
        init_std (float): Standard deviation of the linear layer's initial
            weights.
        **kwargs: Other arguments of :class:`ILAHead`.
    """

    def __init__(self,
                 num_classes: int,
                 in_channels: int,
                 dropout_ratio: float = 0.5,
                 init_std: float = 0.01,
                 **kwargs) -> None:
        super().__init__(num_classes, in_channels, **kwargs)
        self.init_std = init_std
        self.ln = nn.LayerNorm(in_channels)
        self.dropout = nn.Dropout(dropout_ratio)
        self.fc = nn.Linear(in_channels, num_classes)

    def init_weights(self) -> None:
        super().init_weights()
        nn.init.normal_(self.fc.weight, std=self.init_std)
        nn.init.zeros_(self.fc.bias)

    def forward(self, feats: Tuple[Tensor, Tensor], **kwargs) -> Tensor:
        """Compute logits ``(B, num_classes)`` of video features ``(B, E)``,
        which come with patch features."""
        video, _ = feats
        # The released weights expect features of unit length: the norm's
        # epsilon is not small compared to a variance of 1 / E.
        return self.fc(self.dropout(self.ln(F.normalize(video, dim=-1))))
