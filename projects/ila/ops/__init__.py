from .pair_ops import (compute_dtype, has_kernels, pair_depthwise_conv,
                       pair_points, pair_pool, pair_tokens)

__all__ = [
    'compute_dtype', 'has_kernels', 'pair_depthwise_conv', 'pair_points',
    'pair_pool', 'pair_tokens'
]
