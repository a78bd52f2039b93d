from .alignment import draw_alignment, draw_pairs
from .attention import TokenAttention, draw_attention, record_token_attention
from .overlay import draw_frame, draw_overlay, enlarge
from .preview import make_playable
from .similarity import record_similarities
from .style import DrawingStyle
from .trail import draw_trail, write_animation
from .view import (check_alignment, frames_of, load_views, run_model,
                   save_figure, write_alignment)

__all__ = [
    'DrawingStyle', 'TokenAttention', 'check_alignment', 'draw_alignment',
    'draw_attention', 'draw_frame', 'draw_overlay', 'draw_pairs', 'draw_trail',
    'enlarge', 'frames_of', 'load_views', 'make_playable',
    'record_similarities', 'record_token_attention', 'run_model',
    'save_figure', 'write_alignment', 'write_animation'
]
