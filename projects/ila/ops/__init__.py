from .average import pair_pool, pair_tokens
from .common import compute_dtype, has_kernels
from .depthwise_conv import pair_depthwise_conv
from .points import pair_points

__all__ = [
    'compute_dtype', 'has_kernels', 'pair_depthwise_conv', 'pair_points',
    'pair_pool', 'pair_tokens'
]
