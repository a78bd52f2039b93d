from .multiframe_integration_transformer import \
    MultiframeIntegrationTransformer
from .trajectory_transformer import TrajectoryTransformer

__all__ = ['MultiframeIntegrationTransformer', 'TrajectoryTransformer']
