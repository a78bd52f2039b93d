from typing import Optional, Union

from mmengine.device import get_device
from mmengine.optim import AmpOptimWrapper, OptimWrapper

from mmaction.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
def OptionalAmpOptimWrapper(loss_scale: Union[str, float, dict] = 'dynamic',
                            dtype: Optional[str] = None,
                            **kwargs) -> OptimWrapper:
    """Make an ``AmpOptimWrapper``, or an ``OptimWrapper`` on a CPU.

    MMEngine's ``AmpOptimWrapper`` does not support CPUs. ``dtype='float32'``
    turns mixed precision off on any device.
    """
    if (dtype != 'float32' and get_device() in ('cuda', 'npu', 'mlu', 'musa')):
        return AmpOptimWrapper(loss_scale=loss_scale, dtype=dtype, **kwargs)
    return OptimWrapper(**kwargs)
