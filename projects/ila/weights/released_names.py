"""Conversion of names of the released ILA's weights, and back."""
import logging
from typing import Dict, Optional

from mmengine.logging import print_log
from torch import Tensor

from .clip_names import CLIP, ENCODER_LAYER, RESHAPED, convert
from .names import (StateDict, is_temporal, is_text_feature, make_renamer,
                    reshape, under)

KINETICS_CLASSES, SSV2_CLASSES = 400, 174

_PREDICTOR = {
    'prediction_block.0.': 'reduction.conv.',
    'prediction_block.1.': 'reduction.bn.',
    'prediction_block.4.': 'prediction.conv.',
    'prediction_block.5.': 'prediction.bn.',
    'prediction_block.10.': 'point.0.',
    'prediction_block.12.': 'point.2.',
}
_ALIGNMENT = {
    'message_fc.': 'message_fc.',
    'message_ln.': 'message_ln.',
    'message_attn.conv.': 'temporal_conv.',
    'message_attn.fc.': 'temporal_fc.',
    'temporal_skip_fc.': 'skip_fc.',
    'temporal_skip_align_fc.': 'skip_align_fc.',
}
# The predictor's first layer, which shifts the numbers of later layers.
_STEMS = dict(
    separable={
        '0.depthwise_conv.0.': '0.depthwise_conv.conv.',
        '0.depthwise_conv.1.': '0.depthwise_conv.bn.',
        '0.pointwise_conv.0.': '0.pointwise_conv.conv.',
        '0.pointwise_conv.1.': '0.pointwise_conv.bn.',
        '1.': '1.conv.',
        '2.': '1.bn.',
    },
    dense={
        '0.': '0.conv.',
        '1.': '0.bn.',
        '3.': '1.conv.',
        '4.': '1.bn.',
    })
_PROMPT_LAYER = {
    'cross_attn.q_proj.': 'cross_attn.q.',
    'cross_attn.k_proj.': 'cross_attn.k.',
    'cross_attn.v_proj.': 'cross_attn.v.',
    'cross_attn.proj.': 'cross_attn.proj.',
    'norm1.': 'ln1.',
    'norm3.': 'ln2.',
    'mlp.0.': 'ffn.layers.0.0.',
    'mlp.3.': 'ffn.layers.1.',
}
_RELEASED = {
    **CLIP,
    'mit.positional_embedding': 'neck.pos_embed',
    'mit.classify_head.0.': 'cls_head.ln.',
    'mit.classify_head.2.': 'cls_head.fc.',
    'prompts_visual_ln.': 'cls_head.prompt.patch_ln.',
    'prompts_visual_proj': 'cls_head.prompt.patch_proj.weight',
    'prompts_generator.alpha': 'cls_head.prompt.alpha',
    'prompts_generator.norm.': 'cls_head.prompt.ln.',
}
_RELEASED.update(under('mit.resblocks.#.', 'neck.layers.#.', ENCODER_LAYER))
_RELEASED.update(
    under('prompts_generator.decoder.#.', 'cls_head.prompt.layers.#.',
          _PROMPT_LAYER))
_RESHAPED = {
    **RESHAPED,
    'cls_head.prompt.patch_proj.weight': (Tensor.t, Tensor.t),
    'backbone.temporal.#.alignment.predictor.point.#.weight':
    (lambda x: x[..., None], lambda x: x[..., 0]),
    'backbone.temporal.#.temporal_conv.weight':
    (lambda x: x[..., 0], lambda x: x[..., None]),
}


def _table(stem: str) -> Dict[str, str]:
    predictor = under('interactive_block.', 'interaction.', _STEMS[stem])
    predictor.update(_PREDICTOR)
    layer = under('message_attn.', 'alignment.predictor.', predictor)
    layer.update(_ALIGNMENT)
    blocks = under('visual.transformer.resblocks.#.', 'backbone.temporal.#.',
                   layer)
    return {**_RELEASED, **blocks}


def is_released(state_dict: StateDict) -> bool:
    """Whether weights are the released ILA's."""
    return 'visual.transformer.resblocks.0.message_fc.weight' in state_dict


def has_released_form(state_dict: StateDict) -> bool:
    """Whether weights are of ``ReleasedAlignment``, with either names."""
    return is_released(state_dict) or any(
        is_temporal(name) and '.temporal_fc.' in name for name in state_dict)


def released_stem(state_dict: StateDict) -> str:
    """Get the predictor's ``stem`` from weights with released names or ours.

    It is dense for Something-Something v2. For Kinetics-400, the released code
    changed it from dense to separable in August 2023.
    """
    separable = any('.depthwise_conv.' in name for name in state_dict)
    return 'separable' if separable else 'dense'


def _drop_unused_classes(state_dict: StateDict,
                         num_classes: Optional[int]) -> StateDict:
    """Keep the first 174 of 400 rows of a linear head, for 174 classes.

    The released code builds the head for Something-Something v2 with 400 rows,
    the number of classes of Kinetics-400.
    """
    rows = {
        name: value
        for name, value in state_dict.items()
        if name.startswith('cls_head.fc.')
        and len(value) == KINETICS_CLASSES != num_classes == SSV2_CLASSES
    }
    if rows:
        print_log(
            f'The head of the weights has {KINETICS_CLASSES} rows, as the '
            f'released code builds it for {SSV2_CLASSES} classes; the first '
            f'{SSV2_CLASSES} are taken.', 'current', logging.WARNING)
    return {
        **state_dict,
        **{
            name: value[:SSV2_CLASSES]
            for name, value in rows.items()
        }
    }


def convert_released(state_dict: StateDict,
                     num_classes: Optional[int] = None) -> StateDict:
    """Rename weights of the released ILA to those of an ``ILARecognizer``.

    Args:
        state_dict (dict[str, Tensor]): The entry ``model`` of a released
            checkpoint.
        num_classes (int, optional): Number of classes of a linear head. If it
            is 174, only the first 174 of 400 rows are kept, as the released
            head for Something-Something v2 has 400.
    """
    converted = convert(state_dict, _table(released_stem(state_dict)),
                        _RESHAPED)
    return _drop_unused_classes(converted, num_classes)


def revert_released(state_dict: StateDict) -> StateDict:
    """Undo :func:`convert_released`.

    The result is the entry ``model`` of a checkpoint of the released code.
    """
    table = _table(released_stem(state_dict))
    rename = make_renamer({ours: theirs for theirs, ours in table.items()})
    return {
        rename(name): reshape(name, value, _RESHAPED, back=True)
        for name, value in state_dict.items() if not is_text_feature(name)
    }
