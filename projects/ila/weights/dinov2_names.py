"""Conversion of DINOv2's weights from Hugging Face's names to timm's."""
from typing import List, Optional, Tuple

import torch

from .names import StateDict, make_renamer, under

_STEM = {
    'embeddings.cls_token': 'cls_token',
    'embeddings.register_tokens': 'reg_token',
    'embeddings.position_embeddings': 'pos_embed',
    'embeddings.patch_embeddings.projection.': 'patch_embed.proj.',
    'layernorm.': 'norm.',
}
_LAYERS = under(
    'encoder.layer.#.', 'blocks.#.', {
        'norm1.': 'norm1.',
        'norm2.': 'norm2.',
        'attention.attention.qkv.': 'attn.qkv.',
        'attention.output.dense.': 'attn.proj.',
        'layer_scale1.lambda1': 'ls1.gamma',
        'layer_scale2.lambda1': 'ls2.gamma',
        'mlp.fc1.': 'mlp.fc1.',
        'mlp.fc2.': 'mlp.fc2.',
    })
_PATCHES = 'embeddings.patch_embeddings.projection.weight'
_POSITIONS = 'embeddings.position_embeddings'


def _find_positions(weights: StateDict, channels: int) -> List[str]:
    """Find the position embeddings of the class token and of the patches.

    An export to ONNX splits them and drops their names.
    """
    names = [
        name for name, value in weights.items()
        if name.startswith('onnx::') and value.dim() == 3
        and value.shape[0] == 1 and value.shape[2] == channels
    ]
    names.sort(key=lambda name: weights[name].shape[1])
    if len(names) != 2 or weights[names[0]].shape[1] != 1:
        raise ValueError('the position embeddings were not found; take a '
                         'file of a DINOv2 model')
    return names


def convert_dinov2(
        weights: StateDict,
        img_size: Optional[int] = None) -> Tuple[StateDict, List[str]]:
    """Rename DINOv2's weights to those of timm's ``VisionTransformer``.

    Args:
        weights (dict[str, Tensor]): Weights of Hugging Face's ``Dinov2Model``,
            also as a part of another model, or from :func:`read_onnx`.
        img_size (int, optional): Interpolates the position embeddings to
            images of this many pixels per side. Defaults to no interpolation.

    Returns:
        tuple[dict[str, Tensor], list[str]]: Renamed weights, and the names of
        entries that do not belong to the model.

    Raises:
        ValueError: The weights are not of DINOv2, or ``img_size`` is not a
            multiple of the patch size.
    """
    # The import takes a second, so other weights do without it.
    from timm.layers import resample_abs_pos_embed
    start = [
        name[:-len(_PATCHES)] for name in weights if name.endswith(_PATCHES)
    ]
    if len(start) != 1:
        raise ValueError(
            f'these are not weights of DINOv2 ({", ".join([*weights][:3])}); '
            'take a file of Hugging Face or an ONNX file')
    model = {
        name[len(start[0]):]: value
        for name, value in weights.items() if name.startswith(start[0])
    }
    left_over = [name for name in weights if not name.startswith(start[0])]
    model.pop('embeddings.mask_token', None)  # Only for DINOv2's training.
    if _POSITIONS not in model:
        names = _find_positions(weights, model[_PATCHES].shape[0])
        model[_POSITIONS] = torch.cat([weights[name] for name in names], dim=1)
        left_over = [name for name in left_over if name not in names]
    if img_size:
        patch_size = model[_PATCHES].shape[-1]
        if img_size % patch_size:
            raise ValueError(f'patches of {patch_size} pixels do not divide '
                             f'{img_size}; choose another size')
        # Hugging Face's model uses no antialiasing, unlike timm's.
        model[_POSITIONS] = resample_abs_pos_embed(
            model[_POSITIONS], [img_size // patch_size] * 2, antialias=False)
    if 'embeddings.register_tokens' in model:
        # timm's models with registers add no position to the class token.
        first = model[_POSITIONS][:, :1]
        model[_POSITIONS] = model[_POSITIONS][:, 1:]
        model['embeddings.cls_token'] = model['embeddings.cls_token'] + first
    for name in [name for name in model if '.query.' in name]:
        parts = [
            name.replace('.query.', f'.{part}.')
            for part in ('query', 'key', 'value')
        ]
        if model.keys() >= {*parts}:
            model[name.replace('.query.', '.qkv.')] = torch.cat(
                [model.pop(part) for part in parts])
    rename = make_renamer({**_STEM, **_LAYERS})
    return {rename(name): value for name, value in model.items()}, left_over
