from .hooks import (AtomicCheckpointHook, DisturbanceDecayHook,
                    InvalidLossHook, ReproducibleResumeHook, RunRecordHook)
from .optimizers import OptionalAmpOptimWrapper

__all__ = [
    'AtomicCheckpointHook', 'DisturbanceDecayHook', 'InvalidLossHook',
    'OptionalAmpOptimWrapper', 'ReproducibleResumeHook', 'RunRecordHook'
]
