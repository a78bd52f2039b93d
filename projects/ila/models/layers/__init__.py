from .divided_attention_layer import DividedAttentionLayer
from .message_token_layer import MessageTokenLayer
from .neighbour_pooling_layer import NeighbourPoolingLayer
from .released_alignment_layer import ReleasedAlignmentLayer
from .shift_layer import ShiftLayer
from .spatial_layer import SpatialLayer
from .token_alignment_layer import TokenAlignmentLayer

# By `model.backbone.form`: ILA's, with interactive points, and others.
ALIGNMENT_LAYERS = dict(
    token=TokenAlignmentLayer, released=ReleasedAlignmentLayer)
LAYERS = dict(
    **ALIGNMENT_LAYERS,
    none=SpatialLayer,
    shift=ShiftLayer,
    divided=DividedAttentionLayer,
    message=MessageTokenLayer,
    neighbours=NeighbourPoolingLayer)

__all__ = [
    'ALIGNMENT_LAYERS', 'LAYERS', 'DividedAttentionLayer', 'MessageTokenLayer',
    'NeighbourPoolingLayer', 'ReleasedAlignmentLayer', 'ShiftLayer',
    'SpatialLayer', 'TokenAlignmentLayer'
]
