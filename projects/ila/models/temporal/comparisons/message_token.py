from mmpretrain.models.utils import MultiheadAttention
from torch import Tensor, nn

from ..temporal_module import TemporalChange, TemporalModule


class MessageToken(TemporalModule):
    """The message token of X-CLIP (arXiv:2208.02816).

    A linear layer turns each frame's class token into a message. The messages
    of all frames attend to each other, without temporal positions. Each
    message then becomes one more token of its frame.
    """
    needs_class_token = True
    adds_token = True

    def __init__(self, embed_dims: int, num_heads: int) -> None:
        super().__init__(embed_dims, num_heads)
        self.message_fc = nn.Linear(embed_dims, embed_dims)
        self.message_ln = nn.LayerNorm(embed_dims)
        self.message_attn = MultiheadAttention(embed_dims, num_heads)

    def forward(self, patches: Tensor, class_token: Tensor,
                *args) -> TemporalChange:
        messages = self.message_fc(class_token)
        return TemporalChange(token=messages +
                              self.message_attn(self.message_ln(messages)))
