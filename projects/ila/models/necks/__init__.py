from .alignment_loss_neck import AlignmentLossNeck
from .multiframe_integration_transformer import \
    MultiframeIntegrationTransformer
from .trajectory_transformer import TrajectoryTransformer

__all__ = [
    'AlignmentLossNeck', 'MultiframeIntegrationTransformer',
    'TrajectoryTransformer'
]
