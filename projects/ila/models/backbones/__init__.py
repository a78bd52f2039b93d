from .ila_vision_transformer import ALIGNMENT_MODULES, ILAVisionTransformer

__all__ = ['ALIGNMENT_MODULES', 'ILAVisionTransformer']
