from typing import Optional

import torch
import torch.nn as nn
from torch import Tensor

from mmaction.registry import MODELS
from ..alignment import ImplicitAlignment
from .temporal_module import TemporalChange, TemporalModule


@MODELS.register_module()
class ReleasedAlignment(TemporalModule):
    """The alignment of the authors' released code.

    A linear layer and a norm come before the alignment. Two results are then
    added to the patches, each through a linear layer that is zero at first:
    the aligned patches, and the predictor's interaction features after a
    temporal convolution. The class token passes through the norm and the
    linear layers, but skips the alignment.

    Args:
        predictor (dict): Arguments of :class:`InteractivePointPredictor`,
            with other defaults: ``channels=256``, half of them for each frame
            of a pair, and ``refine=True``.
        **alignment: Other arguments of :class:`ImplicitAlignment`.
    """

    released = True
    hands_on = (ImplicitAlignment, )
    predictor_cfg = dict(channels=256, refine=True)

    def __init__(self,
                 embed_dims: int,
                 num_heads: int,
                 predictor: dict = dict(),
                 **alignment) -> None:
        if alignment.pop('difference', False):
            raise ValueError(
                'ReleasedAlignment has no `difference`; leave '
                '`model.backbone.temporal.difference` out, or take '
                "`model.backbone.temporal.type='TokenAlignment'`")
        if not isinstance(predictor, dict) or 'type' in predictor:
            raise ValueError(
                'ReleasedAlignment needs the features of the released '
                f"predictor, got {predictor}; remove `type` from "
                '`model.backbone.temporal.predictor`, a dict of its settings, '
                "or take `model.backbone.temporal.type='TokenAlignment'`")
        super().__init__(embed_dims, num_heads)
        predictor = {**self.predictor_cfg, **predictor}
        self.message_fc = nn.Linear(embed_dims, embed_dims)
        self.message_ln = nn.LayerNorm(embed_dims)
        self.alignment = ImplicitAlignment(
            embed_dims, predictor=predictor, **alignment)
        channels = predictor['channels'] // 2
        # Over (frames, patches), with a kernel along the frames only.
        self.temporal_conv = nn.Conv2d(
            channels, channels, (3, 1), padding=(1, 0))
        self.temporal_conv.to(memory_format=torch.channels_last)
        self.temporal_fc = nn.Linear(channels, embed_dims)
        self.skip_fc = nn.Linear(embed_dims, embed_dims)
        self.skip_align_fc = nn.Linear(embed_dims, embed_dims)
        self.class_skip_fc = None

    def init_weights(self) -> None:
        super().init_weights()
        for layer in (self.skip_fc, self.skip_align_fc):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    @torch.no_grad()
    def switch_to_deploy(self) -> None:
        self.alignment.switch_to_deploy()
        # Temporal features of patches pass through two linear layers in
        # sequence, the class token through two in parallel.
        first, second = self.temporal_fc, self.skip_fc
        beside = self.skip_align_fc
        self.class_skip_fc = nn.Linear(self.embed_dims,
                                       self.embed_dims).to(second.weight)
        self.class_skip_fc.weight.copy_(second.weight + beside.weight)
        self.class_skip_fc.bias.copy_(second.bias + beside.bias)
        first.bias.copy_(second(first.bias))
        first.weight.copy_(second.weight @ first.weight)
        self.skip_fc = nn.Identity()

    def _temporal_features(self, interaction: Tensor, frames: int) -> Tensor:
        """Turn features of pairs into features ``(B, T, H, W, C)`` of frames.
        """
        height, width = interaction.shape[2:]
        # Half of the channels belongs to each frame of the pair.
        pairs = interaction.permute(0, 2, 3, 1).unflatten(-1, (2, -1))
        pairs = pairs.unflatten(0, (-1, frames - 1)).movedim(-2, 2)
        features = self.alignment.pairs.merge(pairs).flatten(2, 3)
        features = self.temporal_conv(features.permute(0, 3, 1, 2))
        features = self.temporal_fc(features.permute(0, 2, 3, 1))
        return features.unflatten(2, (height, width))

    def _skip_class_token(self, message: Tensor) -> Tensor:
        if self.class_skip_fc is not None:
            return self.class_skip_fc(message)
        return self.skip_fc(message) + self.skip_align_fc(message)

    def forward(self,
                patches: Tensor,
                class_token: Optional[Tensor] = None,
                disturb: Optional[bool] = None,
                with_loss: bool = True) -> TemporalChange:
        if class_token is not None:
            message = self.message_ln(self.message_fc(class_token))
            class_token = self._skip_class_token(message)
        patches = self.message_ln(self.message_fc(patches))
        interaction, points, masks = self.alignment(patches, disturb)
        aligned = patches * self.alignment.pairs.merge(masks)[..., None]
        temporal = self._temporal_features(interaction, patches.shape[1])
        return TemporalChange(
            class_token=class_token,
            patches=self.skip_fc(temporal) + self.skip_align_fc(aligned),
            points=points,
            loss=self.alignment.loss(patches, masks) if with_loss else None)
