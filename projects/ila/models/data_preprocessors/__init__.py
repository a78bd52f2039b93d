from .clip_augments import ClipColorJitter, ClipTorchVision
from .ila_data_preprocessor import ILADataPreprocessor

__all__ = ['ClipColorJitter', 'ClipTorchVision', 'ILADataPreprocessor']
