from typing import Tuple

from mmpretrain.models.utils import MultiheadAttention, build_norm_layer
from torch import Tensor, nn

from mmaction.models.backbones.vit_mae import get_sinusoid_encoding
from .spatial_layer import SpatialLayer


class DividedAttentionLayer(SpatialLayer):
    """Encoder layer with the divided attention of TimeSformer.

    Each token first attends to those of the same place in all frames, then to
    those of its own frame (arXiv:2102.05095). Unlike there every frame has a
    class token, as CLIP gives it; they attend to each other like the patches
    of a place. Positions in time are a sinusoid instead of learned, so that
    any number of frames can be taken. The temporal attention's last layer is
    zero at first: the start is CLIP.

    Args:
        embed_dims (int): Channels of the tokens.
        num_heads (int): Heads of either attention.
        drop_path_rate (float): Stochastic depth rate. Defaults to 0.
        norm_cfg (dict): Config of the normalisations.
        **kwargs: Arguments of mmpretrain's ``TransformerEncoderLayer``.
    """

    def __init__(self,
                 embed_dims: int,
                 num_heads: int,
                 drop_path_rate: float = 0.,
                 norm_cfg: dict = dict(type='LN'),
                 **kwargs) -> None:
        super().__init__(
            embed_dims,
            num_heads,
            drop_path_rate=drop_path_rate,
            norm_cfg=norm_cfg,
            **kwargs)
        self.temporal_ln = build_norm_layer(norm_cfg, embed_dims)
        self.temporal_attn = MultiheadAttention(
            embed_dims,
            num_heads,
            dropout_layer=dict(type='DropPath', drop_prob=drop_path_rate))

    def init_weights(self) -> None:
        """Initialise; the temporal attention starts without effect."""
        super().init_weights()
        nn.init.zeros_(self.temporal_attn.proj.weight)
        nn.init.zeros_(self.temporal_attn.proj.bias)

    def attend(self, x: Tensor, grid: Tuple[int, int, int]) -> Tensor:
        """Attend in time, then in space; see :meth:`SpatialLayer.attend`."""
        frames, tokens = grid[0], x.shape[1]
        positions = get_sinusoid_encoding(frames, self.embed_dims).to(x)
        places = self.temporal_ln(x).unflatten(0, (-1, frames)).transpose(1, 2)
        # (B * L, T, C)
        places = places.flatten(0, 1) + positions
        places = self.temporal_attn(places).unflatten(0, (-1, tokens))
        x = x + places.transpose(1, 2).flatten(0, 1)
        return super().attend(x, grid)
