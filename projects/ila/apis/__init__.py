from ..datasets.search import find_videos
from ..models.recognizers.loading import read_weights
from .clip_reader import split_windows
from .conversion import (ConversionReport, clip_to_ila, dinov2_to_timm,
                         ila_to_released, released_to_ila)
from .inferencer import ILAInferencer
from .loading import load_recognizer
from .released import load_released, released_arrays

__all__ = [
    'ConversionReport', 'ILAInferencer', 'clip_to_ila', 'dinov2_to_timm',
    'find_videos', 'ila_to_released', 'load_recognizer', 'load_released',
    'read_weights', 'released_arrays', 'released_to_ila', 'split_windows'
]
