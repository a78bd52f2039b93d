from mmpretrain.models.backbones.vision_transformer import \
    TransformerEncoderLayer
from mmpretrain.models.backbones.vit_eva02 import EVA02EndcoderLayer
from timm.models.eva import EvaBlock, EvaBlockPostNorm
from timm.models.vision_transformer import Block

from .clip import CLIPImage
from .image_model import ImageModel
from .mmpretrain import MMPretrainImage
from .timm import TimmImage

# What sharded trainings gather at a time.
BLOCKS = (TransformerEncoderLayer, EVA02EndcoderLayer, Block, EvaBlock,
          EvaBlockPostNorm)

__all__ = ['BLOCKS', 'CLIPImage', 'ImageModel', 'MMPretrainImage', 'TimmImage']
