from mmengine.config import ConfigDict
from mmengine.runner import CheckpointLoader
from torch import nn

from mmaction.registry import MODELS
from ...utils import explaining_builds, naming_source
from ...weights import adopt_stem, convert_all_weights, find_weights
from ...weights.names import StateDict


def read_weights(path: str) -> StateDict:
    """Read the weights of a checkpoint; see :func:`local_copy` for paths."""
    checkpoint = CheckpointLoader.load_checkpoint(path, map_location='cpu')
    return find_weights(checkpoint, path)


def build_with_weights(model_cfg: ConfigDict, path: str) -> nn.Module:
    """Build a recognizer with exactly the weights of a checkpoint.

    Args:
        model_cfg (ConfigDict): Config of an ``ILARecognizer``.
        path (str): The checkpoint. With weights of CLIP, the other parts stay
            untrained, and a warning says so.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It cannot be read or is not a checkpoint of this model.
    """
    weights = read_weights(path)
    with explaining_builds():
        model = MODELS.build(adopt_stem(model_cfg, weights))
    weights = convert_all_weights(model, weights, path)
    with naming_source(path):
        model.load_state_dict(weights, strict=False)
    return model
