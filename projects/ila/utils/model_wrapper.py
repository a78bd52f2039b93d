from torch import nn

try:
    from torch.distributed.fsdp import FSDPModule
except ImportError:  # Before PyTorch 2.6.
    FSDPModule = ()


def unwrap_model(model: nn.Module) -> nn.Module:
    """Get the model inside a wrapper of distributed training.

    Args:
        model (nn.Module): A runner's model.

    Returns:
        nn.Module: The model itself.
    """
    # MMEngine's own check does not know DeepSpeed's wrapper.
    return getattr(model, 'module', model)


def is_sharded_model(model: nn.Module) -> bool:
    """Whether FSDP shards a model's weights over the processes."""
    return isinstance(model, FSDPModule)
