from .ila_vision_transformer import ILAVisionTransformer

__all__ = ['ILAVisionTransformer']
