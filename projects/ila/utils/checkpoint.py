"""Names and shapes of CLIP's and the released ILA's state dicts."""
import re
from typing import Dict

from torch import Tensor, nn

StateDict = Dict[str, Tensor]

# What OpenAI's archives hold besides weights.
CLIP_SCALARS = ('input_resolution', 'context_length', 'vocab_size')

# The text tower comes from open_clip and keeps CLIP's names.
_TEXT = re.compile(r'(positional_embedding|text_projection|token_embedding\.|'
                   r'ln_final\.|transformer\.)')

# Patterns of CLIP's other names and what they become here.
_BLOCK = [
    (r'\.ln_1\.', '.ln1.'),
    (r'\.ln_2\.', '.ln2.'),
    (r'\.attn\.in_proj_', '.attn.qkv.'),
    (r'\.attn\.out_proj\.', '.attn.proj.'),
    (r'\.mlp\.c_fc\.', '.ffn.layers.0.0.'),
    (r'\.mlp\.c_proj\.', '.ffn.layers.1.'),
]
_CLIP = [
    (r'^visual\.class_embedding$', 'backbone.cls_token'),
    (r'^visual\.positional_embedding$', 'backbone.pos_embed'),
    (r'^visual\.proj$', 'backbone.proj.weight'),
    (r'^visual\.conv1\.', 'backbone.patch_embed.projection.'),
    (r'^visual\.ln_pre\.', 'backbone.pre_norm.'),
    (r'^visual\.ln_post\.', 'backbone.ln1.'),
    (r'^visual\.transformer\.resblocks\.', 'backbone.layers.'),
    (r'^logit_scale$', 'cls_head.logit_scale'),
]
_RELEASED = [
    (r'^mit\.positional_embedding$', 'neck.pos_embed'),
    (r'^mit\.resblocks\.', 'neck.layers.'),
    (r'^mit\.classify_head\.0\.', 'cls_head.ln.'),
    (r'^mit\.classify_head\.2\.', 'cls_head.fc.'),
    (r'^prompts_visual_ln\.', 'cls_head.prompt.patch_ln.'),
    (r'^prompts_visual_proj$', 'cls_head.prompt.patch_proj.weight'),
    (r'^prompts_generator\.alpha$', 'cls_head.prompt.alpha'),
    (r'^prompts_generator\.norm\.', 'cls_head.prompt.ln.'),
    (r'^prompts_generator\.decoder\.', 'cls_head.prompt.layers.'),
    (r'\.cross_attn\.([qkv])_proj\.', r'.cross_attn.\1.'),
    (r'\.norm1\.', '.ln1.'),
    (r'\.norm3\.', '.ln2.'),
    (r'\.mlp\.0\.', '.ffn.layers.0.0.'),
    (r'\.mlp\.3\.', '.ffn.layers.1.'),
    (r'\.message_attn\.conv\.', '.alignment.temporal_conv.'),
    (r'\.message_attn\.fc\.', '.alignment.temporal_fc.'),
    (r'\.message_attn\.', '.alignment.predictor.'),
    (r'\.prediction_block\.0\.', '.reduction.conv.'),
    (r'\.prediction_block\.1\.', '.reduction.bn.'),
    (r'\.prediction_block\.4\.', '.prediction.conv.'),
    (r'\.prediction_block\.5\.', '.prediction.bn.'),
    (r'\.prediction_block\.10\.', '.point.0.'),
    (r'\.prediction_block\.12\.', '.point.2.'),
    (r'\.interactive_block\.0\.(depthwise|pointwise)_conv\.0\.',
     r'.interaction.0.\1_conv.conv.'),
    (r'\.interactive_block\.0\.(depthwise|pointwise)_conv\.1\.',
     r'.interaction.0.\1_conv.bn.'),
]
# The rest of the first stack is counted differently by its first layer.
_RELEASED_STEM = dict(
    separable=[
        (r'\.interactive_block\.1\.', '.interaction.1.conv.'),
        (r'\.interactive_block\.2\.', '.interaction.1.bn.'),
    ],
    dense=[
        (r'\.interactive_block\.0\.', '.interaction.0.conv.'),
        (r'\.interactive_block\.1\.', '.interaction.0.bn.'),
        (r'\.interactive_block\.3\.', '.interaction.1.conv.'),
        (r'\.interactive_block\.4\.', '.interaction.1.bn.'),
    ])


def _convert(state_dict: StateDict, patterns: list) -> StateDict:
    converted = dict()
    for name, value in state_dict.items():
        if name in CLIP_SCALARS:
            continue
        if _TEXT.match(name):
            converted[f'cls_head.text_encoder.tower.{name}'] = value
            continue
        for pattern, replacement in patterns:
            name = re.sub(pattern, replacement, name)
        if name.endswith(('backbone.proj.weight', 'patch_proj.weight')):
            value = value.t()
        elif name == 'backbone.cls_token':
            value = value.view(1, 1, -1)
        elif name == 'backbone.pos_embed':
            value = value[None]
        elif '.point.' in name and name.endswith('weight'):
            value = value[..., None]
        converted[name] = value
    return converted


def is_clip(state_dict: StateDict) -> bool:
    """Whether weights are plain CLIP's, with OpenAI's names."""
    return 'visual.conv1.weight' in state_dict and not any(
        '.message_fc.' in name for name in state_dict)


def convert_clip(state_dict: StateDict) -> StateDict:
    """Rename OpenAI CLIP's weights to an ``ILARecognizer``'s.

    Args:
        state_dict (dict[str, Tensor]): Names as in OpenAI's archives.

    Returns:
        dict[str, Tensor]: Names as in an ``ILARecognizer`` with a text head.
    """
    return _convert(state_dict, _BLOCK + _CLIP)


def convert_released(state_dict: StateDict, stem: str) -> StateDict:
    """Rename released ILA weights to an ``ILARecognizer``'s.

    Args:
        state_dict (dict[str, Tensor]): The entry ``model`` of a released
            checkpoint.
        stem (str): The predictor's first layer, ``'separable'`` or
            ``'dense'``.

    Returns:
        dict[str, Tensor]: Names as in an ``ILARecognizer`` with
        ``form='released'``.
    """
    return _convert(state_dict,
                    _BLOCK + _CLIP + _RELEASED_STEM[stem] + _RELEASED)


def _count_blocks(state_dict: StateDict, prefix: str) -> int:
    pattern = re.compile(re.escape(prefix) + r'(\d+)\.')
    found = (pattern.match(name) for name in state_dict)
    return 1 + max((int(match[1]) for match in found if match), default=-1)


def clip_sizes(state_dict: StateDict) -> dict:
    """Read the sizes of CLIP's towers off its weights.

    Args:
        state_dict (dict[str, Tensor]): Names as in OpenAI's archives.

    Returns:
        dict: ``backbone`` with ``arch`` and ``img_size`` of an
        ``ILAVisionTransformer``, and, where there is a text tower,
        ``text_encoder`` with the arguments of a ``CLIPTextEncoder``.
    """
    width, _, patch_size, _ = state_dict['visual.conv1.weight'].shape
    positions = state_dict['visual.positional_embedding'].shape[0] - 1
    sizes = dict(
        backbone=dict(
            arch=dict(
                embed_dims=width,
                num_layers=_count_blocks(state_dict,
                                         'visual.transformer.resblocks.'),
                num_heads=max(width // 64, 1),
                feedforward_channels=4 * width,
                patch_size=patch_size,
                out_channels=state_dict['visual.proj'].shape[1]),
            img_size=round(positions**0.5) * patch_size))
    if 'text_projection' in state_dict:
        text_width, out_channels = state_dict['text_projection'].shape
        sizes['text_encoder'] = dict(
            width=text_width,
            out_channels=out_channels,
            layers=_count_blocks(state_dict, 'transformer.resblocks.'),
            context_length=state_dict['positional_embedding'].shape[0],
            vocab_size=state_dict['token_embedding.weight'].shape[0])
    return sizes


def released_sizes(state_dict: StateDict) -> dict:
    """Read the sizes of a released ILA model off its weights.

    Args:
        state_dict (dict[str, Tensor]): The entry ``model`` of a released
            checkpoint.

    Returns:
        dict: As :func:`clip_sizes`, and ``neck`` with the arguments of a
        ``MultiframeIntegrationTransformer``.
    """
    _, num_frames, embed_dims = state_dict['mit.positional_embedding'].shape
    return dict(
        **clip_sizes(state_dict),
        neck=dict(
            embed_dims=embed_dims,
            num_frames=num_frames,
            num_layers=_count_blocks(state_dict, 'mit.resblocks.')))


def check_weights(model: nn.Module,
                  state_dict: StateDict,
                  partial: bool = True) -> None:
    """Refuse weights that would leave parts of an ILA model as they are.

    MMEngine skips weights whose name or shape does not fit and only logs it.

    Args:
        model (nn.Module): An ``ILARecognizer``.
        state_dict (dict[str, Tensor]): The weights.
        partial (bool): Whether weights of plain CLIP and another head are
            fine, as at the start of a training. Defaults to True.

    Raises:
        ValueError: The weights are of another form or size, or, unless
            ``partial``, of another head or incomplete.
    """
    if any('.alignment.' in name for name in state_dict):
        form = 'released' if any('.message_fc.' in name
                                 for name in state_dict) else 'token'
        if form != model.backbone.form:
            raise ValueError(
                f"the weights have ILA's form '{form}', the model has "
                f"'{model.backbone.form}'; mend `model.backbone.form`")
    own = model.state_dict()
    if partial and not own.keys() & state_dict.keys():
        raise ValueError(
            'the weights have no name in common with the model '
            f'({", ".join(list(state_dict)[:3]) or "they are empty"}); take '
            "an ILA checkpoint, or CLIP's weights with OpenAI's names")
    parts = ('backbone.', 'neck.') if partial else ('', )
    for name in own.keys() & state_dict.keys():
        # Position embeddings are interpolated.
        if (name.startswith(parts) and not name.endswith('pos_embed')
                and own[name].shape != state_dict[name].shape):
            raise ValueError(
                f"the weights' '{name}' is {tuple(state_dict[name].shape)}, "
                f"the model's {tuple(own[name].shape)}; mend `arch` and the "
                'sizes of `model`, or take the weights of that size')
    if not partial and own.keys() ^ state_dict.keys():
        missing = sorted(own.keys() - state_dict.keys())
        left_over = sorted(state_dict.keys() - own.keys())
        raise ValueError(
            f'the weights lack {len(missing)} entries of the model '
            f'({", ".join(missing[:3]) or "none"}) and have '
            f'{len(left_over)} others ({", ".join(left_over[:3]) or "none"}); '
            'take the config that the weights were trained with')
