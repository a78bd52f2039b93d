from .loading import (SafeDecordDecode, SafeDecordInit, SafePyAVDecode,
                      SafePyAVInit)
from .shuffle import ShuffleFrames

__all__ = [
    'SafeDecordDecode', 'SafeDecordInit', 'SafePyAVDecode', 'SafePyAVInit',
    'ShuffleFrames'
]
