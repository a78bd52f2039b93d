from typing import Optional, Tuple

import torch
import torch.nn as nn
from mmengine.model import BaseModule, ModuleList
from mmengine.model.weight_init import trunc_normal_
from mmpretrain.models.backbones.vision_transformer import \
    TransformerEncoderLayer
from torch import Tensor

from mmaction.registry import MODELS
from ...utils.num_heads import find_num_heads
from .frame_positions import resize_loaded_positions, resize_positions


@MODELS.register_module()
class MultiframeIntegrationTransformer(BaseModule):
    """Light transformer over the frames' class tokens, as in X-CLIP.

    Args:
        embed_dims (int): Channels of the frame features.
        num_frames (int): Number of frames of the position embedding, which is
            interpolated for other numbers.
        num_layers (int): Number of layers.
    """

    def __init__(self,
                 embed_dims: int,
                 num_frames: int = 8,
                 num_layers: int = 1,
                 init_cfg: Optional[dict] = None) -> None:
        super().__init__(init_cfg)
        self.embed_dims = embed_dims
        self.pos_embed = nn.Parameter(torch.zeros(1, num_frames, embed_dims))
        self._register_load_state_dict_pre_hook(
            resize_loaded_positions, with_module=True)
        self.layers = ModuleList(
            TransformerEncoderLayer(
                embed_dims,
                num_heads=find_num_heads(embed_dims, 'model.neck.embed_dims'),
                feedforward_channels=4 * embed_dims,
                act_cfg=dict(type='mmpretrain.QuickGELU'))
            for _ in range(num_layers))

    def init_weights(self) -> None:
        super().init_weights()
        trunc_normal_(self.pos_embed, std=0.02)

    def forward(self, x: Tensor, **kwargs) -> Tuple[Tensor, dict]:
        """Integrate frame features ``(B, T, E)``.

        Returns:
            tuple[Tensor, dict]: Video features ``(B, E)`` and no losses, as
            MMAction2 expects of a neck.
        """
        out = x + resize_positions(self.pos_embed, x.shape[1])
        for layer in self.layers:
            out = layer(out)
        return (out + x).mean(dim=1), dict()
