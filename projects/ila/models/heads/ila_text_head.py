import math
from typing import Optional, Sequence, Tuple, Union

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from mmaction.models.heads import BaseHead
from mmaction.registry import MODELS
from ..common import VideoSpecificPrompt
from ..text import CLIPTextEncoder, load_class_names


@MODELS.register_module()
class ILATextHead(BaseHead):
    """Compare videos with the texts of the class names.

    The text tower is frozen, so its features are computed once, at the first
    use after weights were loaded.

    Args:
        num_classes (int): Number of classes.
        in_channels (int): Channels of the video feature, the size of CLIP's
            joint embedding.
        patch_channels (int): Channels of the backbone's patch features.
        class_names (str | Sequence[str]): See :func:`load_class_names`.
        text_encoder (dict): Arguments of :class:`CLIPTextEncoder`; its width
            defaults to ``in_channels``.
        prompt (dict): Arguments of :class:`VideoSpecificPrompt`.
        average_clips (str, optional): How the views of a video are averaged:
            ``'prob'``, ``'score'`` or None. Defaults to ``'prob'``.
        **kwargs: Arguments of MMAction2's ``BaseHead``.
    """

    def __init__(self,
                 num_classes: int,
                 in_channels: int,
                 patch_channels: int,
                 class_names: Union[str, Sequence[str]],
                 text_encoder: dict = dict(),
                 prompt: dict = dict(),
                 average_clips: Optional[str] = 'prob',
                 **kwargs) -> None:
        super().__init__(
            num_classes, in_channels, average_clips=average_clips, **kwargs)
        self.class_names = load_class_names(class_names)
        if len(self.class_names) != num_classes:
            raise ValueError(
                f'`model.cls_head.class_names` are {len(self.class_names)} '
                f'({class_names}), but `num_classes` is {num_classes}')
        self.text_encoder = CLIPTextEncoder(**{
            'width': in_channels,
            'out_channels': in_channels,
            **text_encoder
        })
        self.prompt = VideoSpecificPrompt(in_channels, patch_channels,
                                          **prompt)
        # CLIP's initial temperature, 0.07.
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.register_buffer('_text_features', None, persistent=False)
        self._register_load_state_dict_pre_hook(self._forget_text_features)

    def _forget_text_features(self, *args) -> None:
        self._text_features = None

    @property
    def tokens(self) -> Tensor:
        """Tensor: The class names' tokens, ``(num_classes, 77)``."""
        return self.text_encoder.tokenize(self.class_names)

    @property
    def text_features(self) -> Tensor:
        """Tensor: The class names' features before normalisation,
        ``(num_classes, in_channels)``."""
        if self._text_features is None:
            self._text_features = self.text_encoder(
                self.tokens.to(self.logit_scale.device))
        return self._text_features

    def forward(self, feats: Tuple[Tensor, Tensor], **kwargs) -> Tensor:
        """Classify videos.

        Args:
            feats (tuple[Tensor, Tensor]): Video features ``(B, E)`` and patch
                features ``(B, T, L, C)``.

        Returns:
            Tensor: Logits, ``(B, num_classes)``.
        """
        video, patches = feats
        text = self.text_features
        text = text + self.prompt(text, patches)
        similarity = F.normalize(
            text, dim=-1) @ F.normalize(
                video, dim=-1)[..., None]
        return self.logit_scale.exp() * similarity.squeeze(-1)
