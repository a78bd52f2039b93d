"""Names of CLIP's weights: OpenAI's, open_clip's, Hugging Face's, timm's."""
import re
from typing import Callable, Dict, Tuple

import torch
from torch import Tensor

from .names import StateDict, make_renamer, reshape, under

# Tables of names, from theirs to ours; see `make_renamer`.
ENCODER_LAYER = {
    'ln_1.': 'ln1.',
    'ln_2.': 'ln2.',
    'attn.in_proj_': 'attn.qkv.',
    'attn.out_proj.': 'attn.proj.',
    'mlp.c_fc.': 'ffn.layers.0.0.',
    'mlp.c_proj.': 'ffn.layers.1.',
}
# The text tower is open_clip's, which keeps OpenAI's names.
_TEXT_TOWER = [
    'positional_embedding', 'text_projection', 'token_embedding.', 'ln_final.',
    'transformer.'
]
CLIP = {
    'visual.class_embedding': 'backbone.image.model.cls_token',
    'visual.positional_embedding': 'backbone.image.model.pos_embed',
    'visual.proj': 'backbone.image.proj.weight',
    'visual.conv1.': 'backbone.image.model.patch_embed.projection.',
    'visual.ln_pre.': 'backbone.image.model.pre_norm.',
    'visual.ln_post.': 'backbone.image.model.ln1.',
    'logit_scale': 'cls_head.logit_scale',
}
CLIP.update(
    {name: f'cls_head.text_encoder.tower.{name}'
     for name in _TEXT_TOWER})
CLIP.update(
    under('visual.transformer.resblocks.#.', 'backbone.image.model.layers.#.',
          ENCODER_LAYER))
_HUGGING_FACE_LAYERS = under(
    'encoder.layers.#.', 'transformer.resblocks.#.', {
        'layer_norm1.': 'ln_1.',
        'layer_norm2.': 'ln_2.',
        'self_attn.in_proj_': 'attn.in_proj_',
        'self_attn.out_proj.': 'attn.out_proj.',
        'mlp.fc1.': 'mlp.c_fc.',
        'mlp.fc2.': 'mlp.c_proj.',
    })
_HUGGING_FACE_VISION = {
    'embeddings.class_embedding': 'class_embedding',
    'embeddings.patch_embedding.': 'conv1.',
    'embeddings.position_embedding.weight': 'positional_embedding',
    'pre_layrnorm.': 'ln_pre.',
    'post_layernorm.': 'ln_post.',
}
_HUGGING_FACE_TEXT = {
    'embeddings.token_embedding.': 'token_embedding.',
    'embeddings.position_embedding.weight': 'positional_embedding',
    'final_layer_norm.': 'ln_final.',
}
_HUGGING_FACE = {
    'visual_projection.weight': 'visual.proj',
    'text_projection.weight': 'text_projection',
}
_HUGGING_FACE.update(
    under('vision_model.', 'visual.', _HUGGING_FACE_VISION,
          _HUGGING_FACE_LAYERS))
_HUGGING_FACE.update(
    under('text_model.', '', _HUGGING_FACE_TEXT, _HUGGING_FACE_LAYERS))
_TIMM = {
    'cls_token': 'visual.class_embedding',
    'pos_embed': 'visual.positional_embedding',
    'head.weight': 'visual.proj',
    'patch_embed.proj.': 'visual.conv1.',
    'norm_pre.': 'visual.ln_pre.',
    'norm.': 'visual.ln_post.',
}
_TIMM.update(
    under(
        'blocks.#.', 'visual.transformer.resblocks.#.', {
            'norm1.': 'ln_1.',
            'norm2.': 'ln_2.',
            'attn.qkv.': 'attn.in_proj_',
            'attn.proj.': 'attn.out_proj.',
            'mlp.fc1.': 'mlp.c_fc.',
            'mlp.fc2.': 'mlp.c_proj.',
        }))

# Entries of OpenAI's archives and Hugging Face's files that are no weights.
_NO_WEIGHTS = re.compile(r'input_resolution|context_length|vocab_size|'
                         r'.*\.position_ids')

# By our name: functions that change a weight to our shape, and back.
RESHAPED: Dict[str, Tuple[Callable, Callable]] = {
    'backbone.image.model.cls_token':
    (lambda x: x.view(1, 1, -1), lambda x: x.flatten()),
    'backbone.image.model.pos_embed': (lambda x: x[None], lambda x: x[0]),
    'backbone.image.proj.weight': (Tensor.t, Tensor.t),
}


def convert(state_dict: StateDict, table: Dict[str, str],
            reshaped: Dict[str, Tuple[Callable, Callable]]) -> StateDict:
    """Rename weights by a table, and change them to our shapes and float32."""
    rename = make_renamer(table)
    converted = dict()
    for name, value in state_dict.items():
        if _NO_WEIGHTS.fullmatch(name):
            continue
        name = rename(name)
        # OpenAI's archives hold half precision.
        value = value.float() if value.is_floating_point() else value
        converted[name] = reshape(name, value, reshaped)
    return converted


def is_hugging_face_clip(state_dict: StateDict) -> bool:
    """Whether weights are CLIP's with Hugging Face's names."""
    return 'vision_model.embeddings.patch_embedding.weight' in state_dict


def convert_clip(state_dict: StateDict) -> StateDict:
    """Rename weights of OpenAI's CLIP to those of an ``ILARecognizer``.

    Args:
        state_dict (dict[str, Tensor]): Names as in OpenAI's archives.

    Returns:
        dict[str, Tensor]: float32; names as in an ``ILARecognizer`` with a
        text head.
    """
    return convert(state_dict, CLIP, RESHAPED)


def convert_hugging_face_clip(state_dict: StateDict) -> StateDict:
    """Rename CLIP weights of Hugging Face to OpenAI's names.

    Args:
        state_dict (dict[str, Tensor]): Names as in ``CLIPModel``.

    Returns:
        dict[str, Tensor]: Names as in OpenAI's archives.

    Raises:
        ValueError: The query, key or value of an attention is missing.
    """
    rename = make_renamer(_HUGGING_FACE)
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


def is_timm_clip(state_dict: StateDict) -> bool:
    """Whether weights are those of CLIP's image tower with timm's names.

    In timm, CLIP's projection has a bias of 0; a classifier has other values.
    """
    return {'norm_pre.weight', 'head.weight', 'patch_embed.proj.weight'
            } <= state_dict.keys() and not state_dict.get(
                'head.bias', torch.zeros(1)).any()


def convert_timm_clip(state_dict: StateDict) -> StateDict:
    """Rename CLIP weights of timm to OpenAI's names.

    Args:
        state_dict (dict[str, Tensor]): Names as in a ``VisionTransformer``.

    Returns:
        dict[str, Tensor]: Names as in OpenAI's archives.
    """
    rename = make_renamer(_TIMM)
    converted = {
        rename(name): value
        for name, value in state_dict.items() if name != 'head.bias'
    }
    reshaped = {
        'visual.class_embedding': Tensor.flatten,
        'visual.positional_embedding': lambda value: value[0],
        'visual.proj': Tensor.t
    }
    return {
        name: reshaped[name](value) if name in reshaped else value
        for name, value in converted.items()
    }
