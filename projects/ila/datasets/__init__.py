from .ila_video_dataset import ILAVideoDataset
from .transforms import SafeDecordDecode, SafeDecordInit

__all__ = ['ILAVideoDataset', 'SafeDecordDecode', 'SafeDecordInit']
