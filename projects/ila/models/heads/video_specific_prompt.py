import torch
import torch.nn as nn
from mmcv.cnn.bricks.transformer import FFN
from mmengine.model import BaseModule
from mmpretrain.models.utils import CrossMultiheadAttention
from torch import Tensor

from ...utils.num_heads import find_num_heads


class PromptDecoderLayer(BaseModule):
    """Class texts attend to the patches of a video."""

    def __init__(self, embed_dims: int, num_heads: int,
                 drop_rate: float) -> None:
        super().__init__()
        self.ln1 = nn.LayerNorm(embed_dims)
        self.cross_attn = CrossMultiheadAttention(embed_dims, num_heads)
        self.ln2 = nn.LayerNorm(embed_dims)
        self.ffn = FFN(
            embed_dims,
            4 * embed_dims,
            ffn_drop=drop_rate,
            act_cfg=dict(type='mmpretrain.QuickGELU'))

    def forward(self, text: Tensor, visual: Tensor) -> Tensor:
        """Decode ``(B, K, E)`` texts over ``(B, L, E)`` patches."""
        text = text + self.cross_attn(self.ln1(text), visual, visual)
        return self.ffn(self.ln2(text), identity=text)


class VideoSpecificPrompt(BaseModule):
    """Prompts that adapt the class texts to each video, as in X-CLIP.

    Args:
        embed_dims (int): Channels of the texts.
        patch_channels (int): Channels of the backbone's patch features.
        num_layers (int): Number of layers.
        drop_rate (float): Dropout rate of the feed-forward networks.
        scale (float): Initial weight of the prompts.
    """

    def __init__(self,
                 embed_dims: int,
                 patch_channels: int,
                 num_layers: int = 2,
                 drop_rate: float = 0.,
                 scale: float = 1e-4) -> None:
        super().__init__()
        self.patch_ln = nn.LayerNorm(patch_channels)
        self.patch_proj = nn.Linear(patch_channels, embed_dims, bias=False)
        self.ln = nn.LayerNorm(embed_dims)
        num_heads = find_num_heads(embed_dims, 'model.cls_head.in_channels')
        self.layers = nn.ModuleList(
            PromptDecoderLayer(embed_dims, num_heads, drop_rate)
            for _ in range(num_layers))
        self.alpha = nn.Parameter(torch.full((embed_dims, ), scale))

    def forward(self, text: Tensor, patches: Tensor) -> Tensor:
        """Make prompts ``(B, K, E)``, which are added to texts ``(K, E)``, from
        patches ``(B, T, L, C)``."""
        # The projection is linear: averaging over the frames first gives the
        # same result at 1 / T of the cost.
        visual = self.ln(self.patch_proj(self.patch_ln(patches).mean(1)))
        prompt = text.expand(len(patches), -1, -1)
        for layer in self.layers:
            prompt = layer(prompt, visual)
        return self.alpha * prompt
