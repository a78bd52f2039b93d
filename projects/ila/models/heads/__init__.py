from .ila_head import ILAHead
from .ila_linear_head import ILALinearHead
from .ila_text_head import ILATextHead, check_text_tower, has_text_tower

__all__ = [
    'ILAHead', 'ILALinearHead', 'ILATextHead', 'check_text_tower',
    'has_text_tower'
]
