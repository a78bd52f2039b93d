from torch import nn


def unwrap_model(model: nn.Module) -> nn.Module:
    """Take a model out of what distributed training wraps it in.

    Args:
        model (nn.Module): A runner's model.

    Returns:
        nn.Module: The model itself.
    """
    # MMEngine's own check does not know DeepSpeed's wrapper.
    return getattr(model, 'module', model)


def is_sharded_model(model: nn.Module) -> bool:
    """Whether FSDP shards a model's weights over the processes."""
    return any(
        hasattr(parameter, 'full_tensor') for parameter in model.parameters())
