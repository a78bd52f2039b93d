from typing import Union

import torch.nn as nn
from torch import Tensor

from mmaction.registry import MODELS
from .mmpretrain import MMPretrainImage
from .quick_gelu import ScaledLinear, use_quick_gelu


@MODELS.register_module()
class CLIPImage(MMPretrainImage):
    """CLIP's image tower.

    Args:
        arch (str | dict): ``'clip-b/32'``, ``'clip-b/16'``, ``'clip-l/14'``
            or a dict with ``embed_dims``, ``num_layers``, ``num_heads``,
            ``feedforward_channels``, ``patch_size`` and ``out_channels``
            (size of CLIP's joint embedding).
        img_size (int): Input size of the position embeddings.
        drop_path_rate (float): Stochastic depth rate of the last block.
    """
    pooling = ('proj.', )
    arch_zoo = {
        name:
        dict(
            embed_dims=width,
            num_layers=layers,
            num_heads=width // 64,
            feedforward_channels=4 * width,
            patch_size=patch_size,
            out_channels=out_channels)
        for name, width, layers, patch_size, out_channels in (
            ('clip-b/32', 768, 12, 32, 512),
            ('clip-b/16', 768, 12, 16, 512),
            ('clip-l/14', 1024, 24, 14, 768),
        )
    }

    def __init__(self,
                 arch: Union[str, dict] = 'clip-b/16',
                 img_size: int = 224,
                 drop_path_rate: float = 0.) -> None:
        if isinstance(arch, str):
            if arch not in self.arch_zoo:
                raise ValueError(
                    f"unknown arch '{arch}'; give `model.backbone.arch` one "
                    f'of {list(self.arch_zoo)} or a dict of sizes')
            arch = self.arch_zoo[arch]
        missing = set(self.arch_zoo['clip-b/16']) - set(arch)
        if missing:
            raise ValueError('the dict `model.backbone.arch` lacks '
                             f'{sorted(missing)}; add them to it')
        super().__init__(
            dict(
                type='mmpretrain.VisionTransformer',
                arch=arch,
                patch_size=arch['patch_size'],
                pre_norm=True,
                norm_cfg=dict(type='LN', eps=1e-5),
                drop_path_rate=drop_path_rate),
            img_size=img_size)
        for block in self.blocks:
            use_quick_gelu(block.ffn)
        self.out_channels = arch['out_channels']
        self.proj = nn.Linear(self.embed_dims, self.out_channels, bias=False)

    def finish(self, tokens: Tensor) -> Tensor:
        return self.proj(super().finish(tokens))

    def switch_to_deploy(self) -> None:
        for module in self.blocks.modules():
            if isinstance(module, ScaledLinear):
                module.fold()
