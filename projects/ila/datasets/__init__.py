from .ila_video_dataset import ILAVideoDataset
from .transforms import (SafeDecordDecode, SafeDecordInit, SafePyAVDecode,
                         SafePyAVInit)

__all__ = [
    'ILAVideoDataset', 'SafeDecordDecode', 'SafeDecordInit', 'SafePyAVDecode',
    'SafePyAVInit'
]
