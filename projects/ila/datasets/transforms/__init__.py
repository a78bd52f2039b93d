from .loading import SafeDecordDecode, SafeDecordInit
from .shuffle import ShuffleFrames

__all__ = ['SafeDecordDecode', 'SafeDecordInit', 'ShuffleFrames']
