from .atomic_checkpoint_hook import AtomicCheckpointHook
from .disturbance_decay_hook import DisturbanceDecayHook
from .invalid_loss_hook import InvalidLossHook
from .preemption_hook import Preempted, PreemptionHook
from .reproducible_resume_hook import ReproducibleResumeHook
from .resume_check_hook import ResumeCheckHook
from .run_record_hook import RunRecordHook
from .sharded_ema_hook import ShardedEMAHook

__all__ = [
    'AtomicCheckpointHook', 'DisturbanceDecayHook', 'InvalidLossHook',
    'Preempted', 'PreemptionHook', 'ReproducibleResumeHook', 'ResumeCheckHook',
    'RunRecordHook', 'ShardedEMAHook'
]
