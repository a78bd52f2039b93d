from typing import Union

from mmaction.registry import MODELS
from .ila_backbone import ILABackbone


@MODELS.register_module()
class ILAVisionTransformer(ILABackbone):
    """CLIP's vision transformer with implicit learnable alignment.

    Position embeddings are interpolated to the size of the input.

    Args:
        arch (str | dict): See :class:`CLIPImage`.
        img_size (int): Input size of the position embeddings.
        drop_path_rate (float): Stochastic depth rate of the last block.
        **kwargs: Other arguments of :class:`ILABackbone`.
    """

    def __init__(self,
                 arch: Union[str, dict] = 'clip-b/16',
                 img_size: int = 224,
                 drop_path_rate: float = 0.,
                 **kwargs) -> None:
        super().__init__(
            dict(
                type='CLIPImage',
                arch=arch,
                img_size=img_size,
                drop_path_rate=drop_path_rate), **kwargs)
