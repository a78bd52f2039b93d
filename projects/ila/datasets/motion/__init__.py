from .billiards import render_billiards
from .dataset import make_dataset
from .motions import CLASSES, classes, displacement
from .rendering import render_states, render_video

__all__ = [
    'CLASSES', 'classes', 'displacement', 'make_dataset', 'render_billiards',
    'render_states', 'render_video'
]
