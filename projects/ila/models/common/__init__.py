from .alignment import (ImplicitAlignment, InteractivePointPredictor,
                        ReleasedAlignment, merge_neighbours, soft_mask)
from .video_specific_prompt import VideoSpecificPrompt

__all__ = [
    'ImplicitAlignment', 'InteractivePointPredictor', 'ReleasedAlignment',
    'VideoSpecificPrompt', 'merge_neighbours', 'soft_mask'
]
