from .hooks import DisturbanceDecayHook
from .optimizers import OptionalAmpOptimWrapper

__all__ = ['DisturbanceDecayHook', 'OptionalAmpOptimWrapper']
