from typing import Tuple

from mmpretrain.models.utils import MultiheadAttention, build_norm_layer
from torch import Tensor, nn

from .spatial_layer import SpatialLayer


class MessageTokenLayer(SpatialLayer):
    """Encoder layer with the message token of X-CLIP (arXiv:2208.02816).

    A linear layer makes a message of each frame's class token. The messages
    of all frames attend to each other; then each joins the self-attention of
    its frame and is dropped before the MLP. As in X-CLIP messages have no
    position in time: the order of the frames is left to the neck.

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
        self.message_fc = nn.Linear(embed_dims, embed_dims)
        self.message_ln = build_norm_layer(norm_cfg, embed_dims)
        self.message_attn = MultiheadAttention(
            embed_dims,
            num_heads,
            dropout_layer=dict(type='DropPath', drop_prob=drop_path_rate))

    def attend(self, x: Tensor, grid: Tuple[int, int, int]) -> Tensor:
        """Exchange messages and attend; see :meth:`SpatialLayer.attend`."""
        messages = self.message_fc(x[:, 0]).unflatten(0, (-1, grid[0]))
        messages = messages + self.message_attn(self.message_ln(messages))
        return self.attend_with(x, messages)
