from mmengine.config import ConfigDict
from mmengine.runner import CheckpointLoader
from torch import nn

from mmaction.registry import MODELS
from ..utils import naming_source
from ..weights import (adopt_stem, check_all_weights, find_weights,
                       is_released_config)


def fit_config(model_cfg: ConfigDict, path: str) -> ConfigDict:
    """Take what a released checkpoint decides into the config of its model.

    Args:
        model_cfg (ConfigDict): Config of a recognizer.
        path (str): The checkpoint. It is read only for the released form.

    Returns:
        ConfigDict: See :func:`adopt_stem`.

    Raises:
        ValueError: The file cannot be read.
    """
    if not is_released_config(model_cfg):
        return model_cfg
    checkpoint = CheckpointLoader.load_checkpoint(path, map_location='cpu')
    return adopt_stem(model_cfg, find_weights(checkpoint, path))


def load_recognizer(model_cfg: ConfigDict, path: str) -> nn.Module:
    """Build a recognizer with exactly the weights of a checkpoint.

    Args:
        model_cfg (ConfigDict): Config of an ``ILARecognizer``.
        path (str): The checkpoint, of this project or of the released code.

    Returns:
        nn.Module: The model in evaluation mode, on the CPU.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It cannot be read, or is not a checkpoint of this model.
    """
    checkpoint = CheckpointLoader.load_checkpoint(path, map_location='cpu')
    weights = find_weights(checkpoint, path)
    model = MODELS.build(adopt_stem(model_cfg, weights))
    check_all_weights(model, weights, path)
    with naming_source(path):
        model.load_state_dict(weights, strict=False)
    return model.eval()
