from typing import Optional, Union

from mmengine.device import get_device
from mmengine.optim import AmpOptimWrapper, OptimWrapper

from mmaction.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
def OptionalAmpOptimWrapper(loss_scale: Union[str, float, dict] = 'dynamic',
                            dtype: Optional[str] = None,
                            **kwargs) -> OptimWrapper:
    """Make an optimizer wrapper, with mixed precision where there is any.

    MMEngine's ``AmpOptimWrapper`` refuses to work on a CPU. There, and on
    other devices without it, training takes place in single precision.

    Args:
        loss_scale (str | float | dict): See ``AmpOptimWrapper``.
        dtype (str, optional): See ``AmpOptimWrapper``; ``'float32'`` does
            without mixed precision.
        **kwargs: Arguments of MMEngine's ``OptimWrapper``.

    Returns:
        OptimWrapper: ``AmpOptimWrapper`` or ``OptimWrapper``.
    """
    if (dtype != 'float32' and get_device() in ('cuda', 'npu', 'mlu', 'musa')):
        return AmpOptimWrapper(loss_scale=loss_scale, dtype=dtype, **kwargs)
    return OptimWrapper(**kwargs)
