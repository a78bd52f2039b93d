from .clip import CLIPImage
from .image_model import ImageModel
from .mmpretrain import MMPretrainImage
from .timm import TimmImage

__all__ = ['CLIPImage', 'ImageModel', 'MMPretrainImage', 'TimmImage']
