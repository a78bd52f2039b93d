from .ila_image_backbone import ILAImageBackbone
from .ila_vision_transformer import ILAVisionTransformer

__all__ = ['ILAImageBackbone', 'ILAVisionTransformer']
