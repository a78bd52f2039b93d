from .quick_gelu import LeanQuickGELU, fold_quick_gelu
from .video_specific_prompt import VideoSpecificPrompt

__all__ = ['LeanQuickGELU', 'fold_quick_gelu', 'VideoSpecificPrompt']
