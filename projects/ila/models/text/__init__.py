from .class_names import load_class_names, parse_class_names
from .clip_text_encoder import CLIPTextEncoder
from .templates import load_templates

__all__ = [
    'CLIPTextEncoder', 'load_class_names', 'load_templates',
    'parse_class_names'
]
