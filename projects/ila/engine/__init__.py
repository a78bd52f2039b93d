from .hooks import (AtomicCheckpointHook, DisturbanceDecayHook,
                    InvalidLossHook, ReproducibleResumeHook, ResumeCheckHook,
                    RunRecordHook)
from .optimizers import OptionalAmpOptimWrapper
from .strategies import ILADeepSpeedStrategy, ILAFSDPStrategy

__all__ = [
    'AtomicCheckpointHook', 'DisturbanceDecayHook', 'ILADeepSpeedStrategy',
    'ILAFSDPStrategy', 'InvalidLossHook', 'OptionalAmpOptimWrapper',
    'ReproducibleResumeHook', 'ResumeCheckHook', 'RunRecordHook'
]
