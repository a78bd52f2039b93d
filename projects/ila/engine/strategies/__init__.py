from .ila_deepspeed_strategy import ILADeepSpeedStrategy
from .ila_fsdp_strategy import ILAFSDPStrategy

__all__ = ['ILADeepSpeedStrategy', 'ILAFSDPStrategy']
