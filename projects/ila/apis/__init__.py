from .conversion import (ConversionReport, clip_to_ila, ila_to_released,
                         released_to_ila)
from .released import load_released, released_arrays

__all__ = [
    'ConversionReport', 'clip_to_ila', 'ila_to_released', 'load_released',
    'released_arrays', 'released_to_ila'
]
