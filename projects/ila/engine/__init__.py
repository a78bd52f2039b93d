from .hooks import (AtomicCheckpointHook, DisturbanceDecayHook,
                    InvalidLossHook, PreemptionHook, ReproducibleResumeHook,
                    ResumeCheckHook, RunRecordHook, ShardedEMAHook)
from .optimizers import OptionalAmpOptimWrapper
from .strategies import ILADeepSpeedStrategy, ILAFSDPStrategy

__all__ = [
    'AtomicCheckpointHook', 'DisturbanceDecayHook', 'ILADeepSpeedStrategy',
    'ILAFSDPStrategy', 'InvalidLossHook', 'OptionalAmpOptimWrapper',
    'PreemptionHook', 'ReproducibleResumeHook', 'ResumeCheckHook',
    'RunRecordHook', 'ShardedEMAHook'
]
