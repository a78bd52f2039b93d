from typing import Sequence

import torch
from mmengine.model import BaseModule
from mmpretrain.models.utils import QuickGELU
from torch import Tensor


class CLIPTextEncoder(BaseModule):
    """CLIP's frozen text tower, from open_clip.

    Args:
        out_channels (int): Size of CLIP's joint embedding.
        context_length (int): Largest number of tokens of a text.
    """

    def __init__(self,
                 width: int,
                 out_channels: int,
                 layers: int = 12,
                 context_length: int = 77,
                 vocab_size: int = 49408) -> None:
        # The import takes a second, and image features do not need it.
        from open_clip.transformer import TextTransformer
        super().__init__()
        self.tower = TextTransformer(
            context_length=context_length,
            vocab_size=vocab_size,
            width=width,
            heads=max(width // 64, 1),
            layers=layers,
            output_dim=out_channels,
            act_layer=QuickGELU)
        self.requires_grad_(False)

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Turn ``K`` texts into int64 tokens ``(K, context_length)``.

        Raises:
            ValueError: A text is too long.
        """
        from open_clip.tokenizer import tokenize

        # The tokenizer truncates silently, so it gets room for one more.
        tokens = tokenize(list(texts), self.tower.context_length + 1)
        for text, end in zip(texts, tokens[:, -1]):
            if end:
                raise ValueError(
                    f"text '{text}' has more than the "
                    f'{self.tower.context_length} tokens that the text tower '
                    'takes; fix `class_names` or `templates` of '
                    '`model.cls_head`')
        return tokens[:, :-1]

    @torch.no_grad()
    def forward(self, tokens: Tensor) -> Tensor:
        """Encode tokens to float32 ``(K, out_channels)``, not normalised."""
        tower = self.tower
        # The end-of-text token has the largest number. The mask is causal, so
        # padding after the longest text has no effect and is left out.
        end = tokens.argmax(dim=-1)
        length = int(end.max()) + 1
        with torch.autocast(tokens.device.type, enabled=False):
            x = tower.token_embedding(tokens[:, :length])
            x = tower.transformer(
                x + tower.positional_embedding[:length],
                attn_mask=tower.attn_mask[:length, :length])
            x = x[torch.arange(len(x), device=x.device), end]
            return tower.ln_final(x) @ tower.text_projection
