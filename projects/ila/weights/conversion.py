"""Conversion of weights of any known kind for an ``ILARecognizer``."""
import warnings
from contextlib import contextmanager
from typing import Iterator, Optional

from mmengine.logging import MMLogger
from torch import nn

from ..utils import naming_source
from .check import check_weights
from .clip_names import (convert_clip, convert_hugging_face_clip,
                         convert_timm_clip, is_hugging_face_clip, is_timm_clip)
from .names import StateDict, is_pretraining, is_text_feature
from .released_names import convert_released, is_released


def is_clip(state_dict: StateDict) -> bool:
    """Whether weights are plain CLIP's, with OpenAI's names."""
    return 'visual.conv1.weight' in state_dict and not is_released(state_dict)


def convert_to_ila(state_dict: StateDict,
                   num_classes: Optional[int] = None) -> StateDict:
    """Rename weights of any known kind to those of an ``ILARecognizer``.

    Args:
        state_dict (dict[str, Tensor]): Weights of CLIP with the names of
            OpenAI, open_clip, Hugging Face or timm; of the released ILA; or
            of an ``ILARecognizer``, which are not changed.
        num_classes (int, optional): See :func:`convert_released`.

    Returns:
        dict[str, Tensor]: Names as in an ``ILARecognizer``.
    """
    if is_hugging_face_clip(state_dict):
        state_dict = convert_hugging_face_clip(state_dict)
    if is_timm_clip(state_dict):
        state_dict = convert_timm_clip(state_dict)
    if is_clip(state_dict):
        return convert_clip(state_dict)
    if is_released(state_dict):
        return convert_released(state_dict, num_classes)
    return state_dict


def prepare_weights(own: StateDict,
                    weights: StateDict,
                    source: str,
                    num_classes: Optional[int] = None,
                    part: str = '') -> StateDict:
    """Rename weights that a model is about to load, and check them.

    Args:
        own (dict[str, Tensor]): The model's state dict.
        weights (dict[str, Tensor]): See :func:`convert_to_ila`.
        source (str): Source of the weights, for the error message.
        num_classes (int, optional): See :func:`convert_released`.
        part (str): Prefix of the model's names in an ``ILARecognizer``, if
            the model is a part of one.

    Raises:
        ValueError: See :func:`check_weights`.
    """
    weights = convert_to_ila(weights, num_classes)
    if part:
        if not any(name.startswith(part) for name in weights):
            weights = {part + name: value for name, value in weights.items()}
        weights = {
            name: value
            for name, value in weights.items() if name.startswith(part)
        }
    with naming_source(source):
        check_weights({
            part + name: value
            for name, value in own.items()
        }, weights)
    return {name[len(part):]: value for name, value in weights.items()}


def convert_all_weights(model: nn.Module, weights: StateDict,
                        path: str) -> StateDict:
    """Rename weights, and refuse weights that do not match a model exactly.

    Weights of an image model or of CLIP may lack the other parts. These parts
    are then initialised as for training, with a warning.

    Args:
        model (nn.Module): An ``ILARecognizer``.
        weights (dict[str, Tensor]): See :func:`convert_to_ila`.
        path (str): File of the weights, for the error message.

    Returns:
        dict[str, Tensor]: Names as in the model.

    Raises:
        ValueError: See :func:`check_weights`.
    """
    weights = convert_to_ila(weights, model.cls_head.num_classes)
    is_pretrained = all(map(is_pretraining, weights))
    with naming_source(path):
        check_weights(model.state_dict(), weights, partial=is_pretrained)
    if is_pretrained:
        _initialise_rest(model, weights, path)
    return weights


@contextmanager
def _without_details() -> Iterator[None]:
    """Suppress MMEngine's log of how each parameter is initialised."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel('WARNING')
    try:
        yield
    finally:
        logger.setLevel(level)


def _initialise_rest(model: nn.Module, weights: StateDict, path: str) -> None:
    """Initialise the parts that weights of an image model or CLIP lack."""
    missing = model.state_dict().keys() - weights.keys()
    untrained = []
    for name, part in (('backbone.temporal', 'alignment'), ('neck', 'neck'),
                       ('cls_head', 'head')):
        if any(
                other.startswith(f'{name}.') and not is_text_feature(other)
                for other in missing):
            with _without_details():
                model.get_submodule(name).init_weights()
            untrained.append(part)
    if untrained:
        warnings.warn(
            f'{path}: the weights are those of the image model or CLIP alone; '
            f'{", ".join(untrained)} of this model are untrained, and scores '
            'mean little. Train it, or take a checkpoint of this model')
