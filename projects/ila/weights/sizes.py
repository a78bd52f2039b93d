"""Sizes of models, read from their weights."""
import logging
import re

from mmengine.config import ConfigDict
from mmengine.logging import print_log

from ..utils.config_arguments import find_class
from .names import StateDict
from .released_names import has_released_form, released_stem


def _count_blocks(state_dict: StateDict, prefix: str) -> int:
    pattern = re.compile(re.escape(prefix) + r'(\d+)\.')
    found = (pattern.match(name) for name in state_dict)
    return 1 + max((int(match[1]) for match in found if match), default=-1)


def clip_sizes(state_dict: StateDict) -> dict:
    """Read the sizes of CLIP's towers from its weights.

    Args:
        state_dict (dict[str, Tensor]): Names as in OpenAI's archives.

    Returns:
        dict: ``backbone`` with ``arch`` and ``img_size`` of an
        ``ILAVisionTransformer``, and, if there is a text tower,
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
    """Read the sizes of a released ILA model from its weights.

    Args:
        state_dict (dict[str, Tensor]): The entry ``model`` of a released
            checkpoint.

    Returns:
        dict: Sizes as from :func:`clip_sizes`, and ``neck`` with the arguments
        of a ``MultiframeIntegrationTransformer``.
    """
    _, num_frames, embed_dims = state_dict['mit.positional_embedding'].shape
    return dict(
        **clip_sizes(state_dict),
        neck=dict(
            embed_dims=embed_dims,
            num_frames=num_frames,
            num_layers=_count_blocks(state_dict, 'mit.resblocks.')))


def is_released_config(model_cfg: ConfigDict) -> bool:
    """Whether released weights fit the temporal module of a config."""
    temporal = model_cfg.get('backbone', dict()).get('temporal') or dict()
    return getattr(find_class(temporal.get('type')), 'released', False)


def adopt_stem(model_cfg: ConfigDict, state_dict: StateDict) -> ConfigDict:
    """Set the predictor's first layer in a config to match released weights.

    For Kinetics-400, weights with both types of first layer are released.

    Args:
        model_cfg (ConfigDict): Config of an ``ILARecognizer``.
        state_dict (dict[str, Tensor]): The weights, with the names of the
            released code or of an ``ILARecognizer``.

    Returns:
        ConfigDict: A copy with the ``stem`` of the weights; or ``model_cfg``
        itself if config or weights have another temporal module.
    """
    if not is_released_config(model_cfg) or not has_released_form(state_dict):
        return model_cfg
    model_cfg = model_cfg.copy()
    model_cfg.backbone = backbone = model_cfg.backbone.copy()
    predictor = dict(backbone.temporal.get('predictor', {}))
    stem = released_stem(state_dict)
    if predictor.get('stem', 'separable') != stem:
        print_log(
            f"The first layer of the weights' predictors is {stem}, and so "
            'is now that of the model: '
            f"`model.backbone.temporal.predictor.stem='{stem}'`.", 'current',
            logging.WARNING)
    backbone.temporal = {
        **backbone.temporal, 'predictor': {
            **predictor, 'stem': stem
        }
    }
    return model_cfg
