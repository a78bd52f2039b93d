from .class_names import load_class_names
from .clip_text_encoder import CLIPTextEncoder

__all__ = ['CLIPTextEncoder', 'load_class_names']
