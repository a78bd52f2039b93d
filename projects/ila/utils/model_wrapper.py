from mmengine.model import is_model_wrapper
from torch import nn


def unwrap_model(model: nn.Module) -> nn.Module:
    """Take a model out of what distributed training wraps it in.

    Args:
        model (nn.Module): A runner's model.

    Returns:
        nn.Module: The model itself.
    """
    return model.module if is_model_wrapper(model) else model
