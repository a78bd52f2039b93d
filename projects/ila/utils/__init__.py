from .checkpoint import (clip_sizes, convert_clip, convert_released,
                         released_sizes)

__all__ = ['clip_sizes', 'convert_clip', 'convert_released', 'released_sizes']
