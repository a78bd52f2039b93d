import json
import math
from typing import List, Optional, Sequence, Tuple, Union

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from mmaction.registry import MODELS
from ..text import CLIPTextEncoder, load_class_names, load_templates
from .ila_head import ILAHead
from .video_specific_prompt import VideoSpecificPrompt


@MODELS.register_module()
class ILATextHead(ILAHead):
    """Compare videos with the texts of the class names.

    The text tower is frozen, so text features are computed once, at the first
    use, and saved in checkpoints. A head without a text tower works with such
    saved features. If loaded features belong to other texts, they are
    computed again.

    Args:
        in_channels (int): Size of CLIP's joint embedding.
        patch_channels (int, optional): Channels of the backbone's patch
            features, from which prompts are made.
        class_names (str | Sequence[str]): See :func:`load_class_names`.
        templates (str | Sequence[str]): See :func:`load_templates`. Features
            of several templates are averaged. Defaults to the name only.
        text_encoder (dict, optional): Arguments of :class:`CLIPTextEncoder`;
            its width defaults to ``in_channels``. None for no text tower.
        prompt (dict, optional): Arguments of :class:`VideoSpecificPrompt`.
            None for no such prompts: logits are then computed as in CLIP.
        freeze_prompt (bool): Whether to freeze the prompts and the
            temperature, as in the authors' training.
        **kwargs: Other arguments of :class:`ILAHead`.

    Raises:
        ValueError: The number of class names is not ``num_classes``, two of
            them are the same to CLIP, or loaded features belong to other
            texts and there is no text tower.
    """

    def __init__(self,
                 in_channels: int,
                 class_names: Union[str, Sequence[str]],
                 patch_channels: Optional[int] = None,
                 num_classes: Optional[int] = None,
                 templates: Union[str, Sequence[str]] = '{}',
                 text_encoder: Optional[dict] = dict(),
                 prompt: Optional[dict] = dict(),
                 freeze_prompt: bool = False,
                 **kwargs) -> None:
        names = load_class_names(class_names)
        if num_classes not in (None, len(names)):
            raise ValueError(
                f'`model.cls_head.class_names` are {len(names)} '
                f'({class_names}), but `num_classes` is {num_classes}')
        super().__init__(len(names), in_channels, **kwargs)
        self.patch_channels = patch_channels
        self.class_names = names
        self.templates = load_templates(templates)
        self.text_encoder = None
        if text_encoder is not None:
            self.text_encoder = CLIPTextEncoder(**{
                'width': in_channels,
                'out_channels': in_channels,
                **text_encoder
            })
            self._check_distinct(names)
        self.prompt = None
        if prompt is not None:
            if patch_channels is None:
                raise ValueError('prompts are made from patch features; set '
                                 '`model.cls_head.patch_channels`, or '
                                 '`prompt` to None')
            self.prompt = VideoSpecificPrompt(in_channels, patch_channels,
                                              **prompt)
        # CLIP's initial temperature, 0.07.
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        if freeze_prompt:
            if self.prompt is not None:
                self.prompt.requires_grad_(False)
            self.logit_scale.requires_grad = False
        # Not a buffer: a model and its EMA must have equally many buffers.
        self._text_features = None
        self._register_state_dict_hook(self._save_text_features)
        self._register_load_state_dict_pre_hook(self._load_text_features)

    def set_class_names(self, names: Sequence[str]) -> None:
        """Classify with other class names.

        Raises:
            ValueError: There is no text tower, a name is empty or too long,
                or two are the same to CLIP.
        """
        check_text_tower(self)
        names = load_class_names(names)
        self._check_distinct(names)
        self.text_encoder.tokenize(self._fill_templates(names))
        self.class_names, self.num_classes = names, len(names)
        self._text_features = None

    def _check_distinct(self, names: Sequence[str]) -> None:
        """Reject names with the same tokens: the second would never be
        predicted."""
        found = dict()
        with torch.device('cpu'):  # The model may be on the meta device.
            tokens = self.text_encoder.tokenize(names).tolist()
        for name, row in zip(names, tokens):
            other = found.setdefault(tuple(row), name)
            if other != name:
                raise ValueError(
                    f"class names '{other}' and '{name}' are the same to CLIP,"
                    ' which reads neither capitals nor several spaces; rename '
                    'one of them, see `model.cls_head.class_names`')

    @property
    def texts(self) -> List[str]:
        """list[str]: Every class name in every template, in that order."""
        return self._fill_templates(self.class_names)

    def _fill_templates(self, names: Sequence[str]) -> List[str]:
        return [
            template.replace('{}', name) for name in names
            for template in self.templates
        ]

    @property
    def tokens(self) -> Tensor:
        """Tensor: The texts' tokens,
        ``(num_classes * len(templates), 77)``."""
        return self.text_encoder.tokenize(self.texts)

    @property
    def text_features(self) -> Tensor:
        """Tensor: The classes' features before normalisation,
        ``(num_classes, in_channels)``."""
        if self._text_features is None:
            # They are kept for training, which rejects inference tensors.
            with torch.inference_mode(False), torch.no_grad():
                self._text_features = self.encode_names(self.class_names)
        return self._text_features.to(self.logit_scale)

    def encode_names(self, names: Sequence[str]) -> Tensor:
        """Encode ``K`` names in all templates to ``(K, in_channels)``, before
        normalisation. Raises a ValueError without a text tower."""
        if self.text_encoder is None:
            raise ValueError(
                'the head has neither a text tower nor features of these '
                'texts; load a checkpoint that holds them, or fix '
                '`model.cls_head.text_encoder`')
        tokens = self.text_encoder.tokenize(self._fill_templates(names))
        parts = tokens.to(self.logit_scale.device).split(1024)
        features = torch.cat([self.text_encoder(part) for part in parts])
        features = features.unflatten(0, (len(names), -1))
        # Directions are averaged, as in CLIP's prompt ensembles. The length
        # is averaged too, as it weights the text against its prompt.
        direction = F.normalize(F.normalize(features, dim=-1).mean(1), dim=-1)
        return direction * features.norm(dim=-1).mean(1, keepdim=True)

    @staticmethod
    def _save_text_features(head: 'ILATextHead', state_dict: dict, prefix: str,
                            *args) -> None:
        if head._text_features is not None:
            state_dict[f'{prefix}text_features'] = head._text_features
            data = json.dumps(head.texts).encode()
            state_dict[f'{prefix}texts'] = torch.tensor(list(data)).byte()

    def _load_text_features(self, state_dict: dict, prefix: str,
                            *args) -> None:
        features = state_dict.pop(f'{prefix}text_features', None)
        data = state_dict.pop(f'{prefix}texts', torch.empty(0))
        try:
            texts = json.loads(bytes(data.tolist()) or '[]')
        except (RecursionError, TypeError, ValueError) as error:
            raise ValueError(f"'{prefix}texts' of the weights are no texts "
                             f'({error}); take other weights') from None
        self._text_features = features if texts == self.texts else None
        size = self.num_classes, self.in_channels
        if self._text_features is not None and features.shape != size:
            raise ValueError(
                f"'{prefix}text_features' of the weights are "
                f'{tuple(features.shape)}, not {size}; take other weights')
        if self.text_encoder is not None:
            return
        for name in list(state_dict):
            if name.startswith(f'{prefix}text_encoder.'):
                del state_dict[name]
        if self._text_features is None:
            raise ValueError(
                f'the checkpoint holds the features of {len(texts)} texts '
                f'({", ".join(texts[:2]) or "none"}), not of the '
                f'{len(self.texts)} of `model.cls_head` '
                f'({", ".join(self.texts[:2])}), and without '
                '`model.cls_head.text_encoder` they cannot be computed')

    def forward(self, feats: Tuple[Tensor, Tensor], **kwargs) -> Tensor:
        """Compute logits ``(B, num_classes)`` of video features ``(B, E)`` and
        patch features ``(B, T, L, C)``."""
        video, patches = feats
        text = self.text_features
        if self.prompt is not None:
            text = text + self.prompt(text, patches)
        similarity = F.normalize(
            text, dim=-1) @ F.normalize(
                video, dim=-1)[..., None]
        return self.logit_scale.exp() * similarity.squeeze(-1)


def has_text_tower(head: nn.Module) -> bool:
    """Whether a head, of this project or not, accepts any class names."""
    return isinstance(head, ILATextHead) and head.text_encoder is not None


def check_text_tower(head: nn.Module) -> None:
    """Raise a ValueError if the classes of a head are fixed."""
    if not has_text_tower(head):
        raise ValueError('the head has no text tower: its classes are fixed, '
                         'and texts have no features; take a model with '
                         '`ILATextHead`')
