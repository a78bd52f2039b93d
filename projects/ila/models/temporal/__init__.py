from .released_alignment import ReleasedAlignment
from .temporal_module import TemporalChange, TemporalModule
from .token_alignment import TokenAlignment

__all__ = [
    'ReleasedAlignment', 'TemporalChange', 'TemporalModule', 'TokenAlignment'
]
