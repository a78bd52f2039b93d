from .ila_backbone import ILABackbone, ILAFeatures
from .ila_vision_transformer import ILAVisionTransformer

__all__ = ['ILABackbone', 'ILAFeatures', 'ILAVisionTransformer']
