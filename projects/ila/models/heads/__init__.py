from .ila_head import ILAHead
from .ila_linear_head import ILALinearHead
from .ila_text_head import ILATextHead

__all__ = ['ILAHead', 'ILALinearHead', 'ILATextHead']
