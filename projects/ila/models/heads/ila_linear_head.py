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
        num_classes (int): Number of classes.
        in_channels (int): Channels of the video feature.
        dropout_ratio (float): Dropout before the linear layer.
            Defaults to 0.5.
        init_std (float): Standard deviation of the linear layer's initial
            weights. Defaults to 0.01.
        **kwargs: Arguments of :class:`ILAHead`.
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
        """Initialise the linear layer."""
        super().init_weights()
        nn.init.normal_(self.fc.weight, std=self.init_std)
        nn.init.zeros_(self.fc.bias)

    def forward(self, feats: Tuple[Tensor, Tensor], **kwargs) -> Tensor:
        """Classify videos.

        Args:
            feats (tuple[Tensor, Tensor]): Video features ``(B, E)``; patch
                features, unused here.

        Returns:
            Tensor: Logits, ``(B, num_classes)``.
        """
        video, _ = feats
        # The released weights expect the unit length: the norm's epsilon is
        # not small beside a variance of 1 / E.
        return self.fc(self.dropout(self.ln(F.normalize(video, dim=-1))))
