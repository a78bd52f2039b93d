"""Names and shapes of weights: CLIP's, the released ILA's and ours."""
import logging
import re
from typing import Callable, Dict, Optional, Tuple

import torch
from mmengine.logging import print_log
from torch import Tensor

StateDict = Dict[str, Tensor]

KINETICS_CLASSES, SSV2_CLASSES = 400, 174
# What a text head saves beside its weights.
_TEXT_FEATURES = ('cls_head.text_features', 'cls_head.texts')


def _under(theirs: str, ours: str, *tables: Dict[str, str]) -> Dict[str, str]:
    """Put tables of names under a prefix on either side."""
    return {
        f'{theirs}{old}': f'{ours}{new}'
        for table in tables
        for old, new in table.items()
    }


# Tables of names, theirs on the left. What ends in '.' or '_' is the start of
# a name, '#' stands for a number.
_ENCODER_LAYER = {
    'ln_1.': 'ln1.',
    'ln_2.': 'ln2.',
    'attn.in_proj_': 'attn.qkv.',
    'attn.out_proj.': 'attn.proj.',
    'mlp.c_fc.': 'ffn.layers.0.0.',
    'mlp.c_proj.': 'ffn.layers.1.',
}
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
# The predictor's first layer, after which the released code counts on.
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
# The text tower is open_clip's, which keeps OpenAI's names.
_TEXT_TOWER = [
    'positional_embedding', 'text_projection', 'token_embedding.', 'ln_final.',
    'transformer.'
]
_CLIP = {
    'visual.class_embedding': 'backbone.image.model.cls_token',
    'visual.positional_embedding': 'backbone.image.model.pos_embed',
    'visual.proj': 'backbone.image.proj.weight',
    'visual.conv1.': 'backbone.image.model.patch_embed.projection.',
    'visual.ln_pre.': 'backbone.image.model.pre_norm.',
    'visual.ln_post.': 'backbone.image.model.ln1.',
    'logit_scale': 'cls_head.logit_scale',
}
_CLIP.update(
    _under('visual.transformer.resblocks.#.', 'backbone.image.model.layers.#.',
           _ENCODER_LAYER))
_CLIP.update(
    _under('', 'cls_head.text_encoder.tower.',
           dict(zip(_TEXT_TOWER, _TEXT_TOWER))))
_RELEASED = {
    **_CLIP,
    'mit.positional_embedding': 'neck.pos_embed',
    'mit.classify_head.0.': 'cls_head.ln.',
    'mit.classify_head.2.': 'cls_head.fc.',
    'prompts_visual_ln.': 'cls_head.prompt.patch_ln.',
    'prompts_visual_proj': 'cls_head.prompt.patch_proj.weight',
    'prompts_generator.alpha': 'cls_head.prompt.alpha',
    'prompts_generator.norm.': 'cls_head.prompt.ln.',
}
_RELEASED.update(_under('mit.resblocks.#.', 'neck.layers.#.', _ENCODER_LAYER))
_RELEASED.update(
    _under('prompts_generator.decoder.#.', 'cls_head.prompt.layers.#.',
           _PROMPT_LAYER))


def _released_table(stem: str) -> Dict[str, str]:
    predictor = _under('interactive_block.', 'interaction.', _STEMS[stem])
    predictor.update(_PREDICTOR)
    layer = _under('message_attn.', 'alignment.predictor.', predictor)
    layer.update(_ALIGNMENT)
    blocks = _under('visual.transformer.resblocks.#.', 'backbone.temporal.#.',
                    layer)
    return {**_RELEASED, **blocks}


_HUGGING_FACE_LAYER = {
    'layer_norm1.': 'ln_1.',
    'layer_norm2.': 'ln_2.',
    'self_attn.in_proj_': 'attn.in_proj_',
    'self_attn.out_proj.': 'attn.out_proj.',
    'mlp.fc1.': 'mlp.c_fc.',
    'mlp.fc2.': 'mlp.c_proj.',
}
_HUGGING_FACE_VISION = {
    'embeddings.class_embedding': 'class_embedding',
    'embeddings.patch_embedding.': 'conv1.',
    'embeddings.position_embedding.weight': 'positional_embedding',
    'pre_layrnorm.': 'ln_pre.',
    'post_layernorm.': 'ln_post.',
}
_HUGGING_FACE_VISION.update(
    _under('encoder.layers.#.', 'transformer.resblocks.#.',
           _HUGGING_FACE_LAYER))
_HUGGING_FACE_TEXT = {
    'embeddings.token_embedding.': 'token_embedding.',
    'embeddings.position_embedding.weight': 'positional_embedding',
    'final_layer_norm.': 'ln_final.',
}
_HUGGING_FACE_TEXT.update(
    _under('encoder.layers.#.', 'transformer.resblocks.#.',
           _HUGGING_FACE_LAYER))
_HUGGING_FACE = {
    **_under('vision_model.', 'visual.', _HUGGING_FACE_VISION),
    **_under('text_model.', '', _HUGGING_FACE_TEXT),
    'visual_projection.weight': 'visual.proj',
    'text_projection.weight': 'text_projection',
}

# What OpenAI's archives and Hugging Face's files hold besides weights.
_NO_WEIGHTS = re.compile(r'input_resolution|context_length|vocab_size|'
                         r'.*\.position_ids')

# Changes of shape by our name, and back.
_RESHAPED: Dict[str, Tuple[Callable, Callable]] = {
    'backbone.image.model.cls_token':
    (lambda x: x.view(1, 1, -1), lambda x: x.flatten()),
    'backbone.image.model.pos_embed': (lambda x: x[None], lambda x: x[0]),
    'backbone.image.proj.weight': (Tensor.t, Tensor.t),
    'cls_head.prompt.patch_proj.weight': (Tensor.t, Tensor.t),
    'backbone.temporal.#.alignment.predictor.point.#.weight':
    (lambda x: x[..., None], lambda x: x[..., 0]),
    'backbone.temporal.#.temporal_conv.weight':
    (lambda x: x[..., 0], lambda x: x[..., None]),
}


def _make_renamer(table: Dict[str, str]) -> Callable[[str], str]:
    """Make a function that renames by a table and leaves other names."""
    patterns = []
    for old, new in table.items():
        start = r'(\d+)'.join(map(re.escape, old.split('#')))
        rest = '(.*)' if old.endswith(('.', '_')) else '()'
        patterns.append((re.compile(start + rest), new))

    def rename(name: str) -> str:
        for pattern, new in patterns:
            match = pattern.fullmatch(name)
            if match:
                return new.replace('#', match[1]) + match[match.lastindex]
        return name

    return rename


def _reshape(name: str, value: Tensor, back: bool = False) -> Tensor:
    key = re.sub(r'(?<=\.)\d+(?=\.)', '#', name)
    return _RESHAPED[key][back](value) if key in _RESHAPED else value


def _convert(state_dict: StateDict, table: Dict[str, str]) -> StateDict:
    rename = _make_renamer(table)
    converted = dict()
    for name, value in state_dict.items():
        if _NO_WEIGHTS.fullmatch(name):
            continue
        name = rename(name)
        # OpenAI's archives hold half precision.
        value = value.float() if value.is_floating_point() else value
        converted[name] = _reshape(name, value)
    return converted


def is_temporal(name: str) -> bool:
    """Whether a parameter or module of ours is a temporal module's."""
    return name.startswith('backbone.temporal.')


def is_text_feature(name: str) -> bool:
    """Whether an entry of ours only keeps what the text tower computes."""
    return name in _TEXT_FEATURES


def is_clip(state_dict: StateDict) -> bool:
    """Whether weights are plain CLIP's, with OpenAI's names."""
    return 'visual.conv1.weight' in state_dict and not is_released(state_dict)


def is_hugging_face_clip(state_dict: StateDict) -> bool:
    """Whether weights are CLIP's with Hugging Face's names."""
    return 'vision_model.embeddings.patch_embedding.weight' in state_dict


def is_released(state_dict: StateDict) -> bool:
    """Whether weights are the released ILA's."""
    return 'visual.transformer.resblocks.0.message_fc.weight' in state_dict


def has_released_form(state_dict: StateDict) -> bool:
    """Whether weights are of the released form, under either's names."""
    return is_released(state_dict) or any(
        is_temporal(name) and '.temporal_fc.' in name for name in state_dict)


def released_stem(state_dict: StateDict) -> str:
    """Get the first layer of the predictor in the released form.

    It is dense for Something-Something v2. For Kinetics-400 the released code
    changed it from dense to separable in August 2023.

    Args:
        state_dict (dict[str, Tensor]): The entry ``model`` of a released
            checkpoint, or the weights of an ``ILARecognizer``.

    Returns:
        str: ``'separable'`` or ``'dense'``.
    """
    separable = any('.depthwise_conv.' in name for name in state_dict)
    return 'separable' if separable else 'dense'


def _drop_unused_classes(state_dict: StateDict,
                         num_classes: Optional[int]) -> StateDict:
    """Take the first 174 of 400 rows of a linear head, for 174 classes.

    The released code builds the head for Something-Something v2 with as many
    rows as Kinetics-400 has classes.
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


def convert_clip(state_dict: StateDict) -> StateDict:
    """Rename OpenAI CLIP's weights to an ``ILARecognizer``'s.

    Args:
        state_dict (dict[str, Tensor]): Names as in OpenAI's archives.

    Returns:
        dict[str, Tensor]: float32; names as in an ``ILARecognizer`` with a
        text head.
    """
    return _convert(state_dict, _CLIP)


def convert_hugging_face_clip(state_dict: StateDict) -> StateDict:
    """Rename Hugging Face's CLIP weights to OpenAI's.

    Args:
        state_dict (dict[str, Tensor]): Names as in ``CLIPModel``.

    Returns:
        dict[str, Tensor]: Names as in OpenAI's archives.

    Raises:
        ValueError: Parts of an attention are missing.
    """
    rename = _make_renamer(_HUGGING_FACE)
    converted = dict()
    for name, value in state_dict.items():
        if _NO_WEIGHTS.fullmatch(name) or re.search(r'\.[kv]_proj\.', name):
            continue
        if '.q_proj.' in name:
            parts = [name.replace('.q_', f'.{part}_') for part in 'qkv']
            missing = [part for part in parts if part not in state_dict]
            if missing:
                raise ValueError(f"the weights lack '{missing[0]}'")
            value = torch.cat([state_dict[part] for part in parts])
            name = name.replace('.q_proj.', '.in_proj_')
        name = rename(name)
        transposed = name in ('visual.proj', 'text_projection')
        converted[name] = value.t() if transposed else value
    return converted


def convert_released(state_dict: StateDict,
                     num_classes: Optional[int] = None) -> StateDict:
    """Rename released ILA weights to an ``ILARecognizer``'s.

    Args:
        state_dict (dict[str, Tensor]): The entry ``model`` of a released
            checkpoint.
        num_classes (int, optional): Number of classes of a linear head. The
            released head for Something-Something v2 has 400 rows, of which
            the first 174 are taken if that is the number.

    Returns:
        dict[str, Tensor]: Names as in an ``ILARecognizer`` with
        ``ReleasedAlignment``.
    """
    converted = _convert(state_dict,
                         _released_table(released_stem(state_dict)))
    return _drop_unused_classes(converted, num_classes)


def revert_released(state_dict: StateDict) -> StateDict:
    """Undo :func:`convert_released`.

    Args:
        state_dict (dict[str, Tensor]): Weights of an ``ILARecognizer`` with
            ``ReleasedAlignment``.

    Returns:
        dict[str, Tensor]: What the released code takes as a checkpoint's
        entry ``model``.
    """
    table = _released_table(released_stem(state_dict))
    rename = _make_renamer({ours: theirs for theirs, ours in table.items()})
    return {
        rename(name): _reshape(name, value, back=True)
        for name, value in state_dict.items() if not is_text_feature(name)
    }


def convert_to_ila(state_dict: StateDict,
                   num_classes: Optional[int] = None) -> StateDict:
    """Rename weights of any known kind to an ``ILARecognizer``'s.

    Args:
        state_dict (dict[str, Tensor]): CLIP's with OpenAI's, open_clip's or
            Hugging Face's names, the released ILA's or an
            ``ILARecognizer``'s, which stay as they are.
        num_classes (int, optional): See :func:`convert_released`.

    Returns:
        dict[str, Tensor]: Names as in an ``ILARecognizer``.
    """
    if is_hugging_face_clip(state_dict):
        state_dict = convert_hugging_face_clip(state_dict)
    if is_clip(state_dict):
        return convert_clip(state_dict)
    if is_released(state_dict):
        return convert_released(state_dict, num_classes)
    return state_dict
