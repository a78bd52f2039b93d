from typing import Dict, Optional, Sequence, Union

import torch
from torch import Tensor, nn

from mmaction.registry import MODELS
from ..models.heads import ILATextHead
from ..models.text import load_class_names
from ..weights import convert_released, released_sizes, released_stem
from ..weights.names import StateDict
from ..weights.released_names import SSV2_CLASSES

# Weights that only one of the two releases has.
_MARKS = dict(k400='prompts_visual_proj', ssv2='mit.classify_head.2.weight')
# Weights from which sizes are read.
_SIZES = ('visual.conv1.weight', 'visual.positional_embedding', 'visual.proj',
          'mit.positional_embedding')


def load_released(
        state_dict: StateDict,
        variant: Optional[str] = None,
        class_names: Optional[Union[str, Sequence[str]]] = None) -> nn.Module:
    """Build the model of a released ILA checkpoint and load its weights.

    All sizes and the type of the predictors' first layer are read from the
    weights. A linear head with 400 rows keeps the first 174, see
    :func:`convert_released`.

    Args:
        state_dict (dict[str, Tensor]): The entry ``model`` of a released
            checkpoint.
        variant (str, optional): ``'k400'`` (text head) or ``'ssv2'`` (linear
            head), to refuse weights of the other variant.
        class_names (str | Sequence[str], optional): Classes of the text head.
            Defaults to those of Kinetics-400.

    Raises:
        ValueError: The weights are of another variant, incomplete, or have no
            text head for ``class_names``.
    """
    if variant not in (None, *_MARKS):
        raise ValueError(
            f"variant must be one of {list(_MARKS)}, got '{variant}'")
    marks = _MARKS if variant is None else {variant: _MARKS[variant]}
    variant = next((name for name in marks if marks[name] in state_dict), None)
    if variant is None:
        raise ValueError(
            f"no released weights of {' or '.join(map(repr, marks))}: "
            f"{' or '.join(map(repr, marks.values()))} is missing; give the "
            "checkpoint's entry 'model' and its own variant")
    if variant == 'ssv2' and class_names is not None:
        raise ValueError("released weights of 'ssv2' have a linear head, "
                         'without names of classes; leave out `class_names`')
    missing = [
        name for name in (*_SIZES, *['text_projection'] * (variant == 'k400'))
        if name not in state_dict
    ]
    if missing:
        raise ValueError(f'the weights lack {missing}; give all of the '
                         "checkpoint's entry 'model'")
    sizes = released_sizes(state_dict)
    weights = convert_released(state_dict, SSV2_CLASSES)
    backbone = sizes['backbone']
    in_channels = backbone['arch']['out_channels']
    if variant == 'k400':
        if class_names is None:
            class_names = 'kinetics400'
        cls_head = dict(
            type='ILATextHead',
            num_classes=len(load_class_names(class_names)),
            in_channels=in_channels,
            patch_channels=backbone['arch']['embed_dims'],
            class_names=class_names,
            text_encoder=sizes['text_encoder'])
    else:
        cls_head = dict(
            type='ILALinearHead',
            num_classes=len(weights['cls_head.fc.weight']),
            in_channels=in_channels)
    model = MODELS.build(
        dict(
            type='ILARecognizer',
            backbone=dict(
                type='ILAVisionTransformer',
                temporal=dict(
                    type='ReleasedAlignment',
                    predictor=dict(stem=released_stem(state_dict))),
                **backbone),
            neck=dict(
                type='MultiframeIntegrationTransformer', **sizes['neck']),
            cls_head=cls_head,
            data_preprocessor=dict(
                type='mmaction.ActionDataPreprocessor',
                mean=[123.675, 116.28, 103.53],
                std=[58.395, 57.12, 57.375],
                format_shape='NCTHW')))
    model.load_state_dict(weights)
    return model.eval()


@torch.no_grad()
def released_arrays(model: nn.Module, video: Tensor) -> Dict[str, Tensor]:
    """Compute the outputs of the released code, under its names.

    Args:
        model (nn.Module): From :func:`load_released`.
        video (Tensor): Normalised videos, ``(B, T, 3, H, W)``.

    Returns:
        dict[str, Tensor]: See :meth:`ILARecognizer._forward`; also
        ``video_disturbed`` and ``cos_loss_disturbed``, with the masks that are
        used in training. The released SSv2 code classifies within its
        multi-frame transformer, so for it ``video`` equals ``logits``.
    """
    arrays = model(video)
    disturbed = model(video, disturb=True)
    if not isinstance(model.cls_head, ILATextHead):
        for outputs in (arrays, disturbed):
            outputs['video'] = outputs['logits']
    for name in ('video', 'cos_loss'):
        arrays[f'{name}_disturbed'] = disturbed[name]
    return arrays
