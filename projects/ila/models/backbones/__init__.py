from .ila_backbone import ILABackbone
from .ila_features import ILAFeatures
from .ila_vision_transformer import ILAVisionTransformer

__all__ = ['ILABackbone', 'ILAFeatures', 'ILAVisionTransformer']
