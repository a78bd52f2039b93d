"""Weights of any known kind, turned into an ``ILARecognizer``'s."""
from typing import Optional

from torch import nn

from ..utils import naming_source
from .check import check_weights
from .clip_names import (convert_clip, convert_hugging_face_clip,
                         is_hugging_face_clip)
from .names import StateDict
from .released_names import convert_released, is_released


def is_clip(state_dict: StateDict) -> bool:
    """Whether weights are plain CLIP's, with OpenAI's names."""
    return 'visual.conv1.weight' in state_dict and not is_released(state_dict)


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


def prepare_weights(own: StateDict,
                    weights: StateDict,
                    source: str,
                    num_classes: Optional[int] = None,
                    part: str = '') -> StateDict:
    """Rename weights that a model is about to load, and check them.

    Args:
        own (dict[str, Tensor]): The model's state dict.
        weights (dict[str, Tensor]): See :func:`convert_to_ila`.
        source (str): Where they are from, for the error message.
        num_classes (int, optional): See :func:`convert_released`.
        part (str): Start of the names in an ``ILARecognizer``, if the model is
            a part of one.

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
    """Rename weights, and refuse those that are not exactly a model's.

    Args:
        model (nn.Module): An ``ILARecognizer``.
        weights (dict[str, Tensor]): See :func:`convert_to_ila`.
        path (str): Their file, for the error message.

    Returns:
        dict[str, Tensor]: Names as in the model.

    Raises:
        ValueError: See :func:`check_weights`.
    """
    weights = convert_to_ila(weights, model.cls_head.num_classes)
    with naming_source(path):
        check_weights(model.state_dict(), weights, partial=False)
    return weights
