from .checkpoint import (check_weights, clip_sizes, convert_clip,
                         convert_released, is_clip, released_sizes)

__all__ = [
    'check_weights', 'clip_sizes', 'convert_clip', 'convert_released',
    'is_clip', 'released_sizes'
]
