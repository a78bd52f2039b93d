from .alignment import (ImplicitAlignment, InteractivePointPredictor,
                        ReleasedAlignment, merge_neighbours, soft_mask)
from .quick_gelu import LeanQuickGELU, fold_quick_gelu
from .video_specific_prompt import VideoSpecificPrompt

__all__ = [
    'LeanQuickGELU', 'fold_quick_gelu', 'ImplicitAlignment',
    'InteractivePointPredictor', 'ReleasedAlignment', 'VideoSpecificPrompt',
    'merge_neighbours', 'soft_mask'
]
