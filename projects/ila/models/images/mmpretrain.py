from typing import Tuple

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmcv.cnn.bricks import DropPath
from mmengine.model.weight_init import trunc_normal_
from mmpretrain.models.backbones.vision_transformer import VisionTransformer
from mmpretrain.models.backbones.vit_eva02 import AttentionWithRoPE, ViTEVA02
from mmpretrain.models.utils import RotaryEmbeddingFast
from torch import Tensor

from mmaction.registry import MODELS
from ...utils import naming_source
from ...utils.config_arguments import find_class
from ...weights.check import describe_mismatch
from .image_model import ImageModel


class PatchRotaryEmbedding(RotaryEmbeddingFast):
    """EVA-02's rotary positions, applied to patches only.

    Unlike its parent, it supports a single input size: the angles are part of
    EVA-02's weights, and the angles that the parent computes for another size
    do not match them.

    Args:
        rope (RotaryEmbeddingFast): The embedding that it replaces.
        num_before (int): Number of registers before the patches. EVA-02
            itself leaves out the class token.
    """

    def __init__(self, rope: RotaryEmbeddingFast, num_before: int) -> None:
        super().__init__(2 * rope.half_dim, rope.patch_resolution)
        self.num_before = num_before

    def forward(self, x: Tensor, patch_resolution: Tuple[int, int]) -> Tensor:
        """Rotate queries or keys, ``(B, heads, tokens, head_dims)``.

        Raises:
            ValueError: There are no positions for this input size.
        """
        if patch_resolution != self.patch_resolution:
            own, given = ('{} x {}'.format(*grid)
                          for grid in (self.patch_resolution,
                                       patch_resolution))
            raise ValueError(
                f"EVA-02's rotary positions are of {own} patches, the input "
                f'has {given}; fix the crop size in the pipeline, or '
                '`model.backbone.image.img_size`')
        first = self.num_before
        before, patches, after = x.tensor_split(
            (first, first + len(self.freqs_cos)), dim=2)
        rotated = super().forward(patches, patch_resolution)
        return torch.cat([before, rotated, after], dim=2)


class FusedRotaryAttention(AttentionWithRoPE):
    """EVA-02's attention with PyTorch's fused kernels.

    Its parent keeps the whole attention matrix in memory.
    """

    def forward(self, x: Tensor, patch_resolution: Tuple[int, int]) -> Tensor:
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)

        def rotate(part: Tensor) -> Tensor:
            patches = self.rope(part[:, :, 1:], patch_resolution)
            return torch.cat([part[:, :, :1], patches], dim=2).type_as(value)

        x = F.scaled_dot_product_attention(
            rotate(query),
            rotate(key),
            value,
            dropout_p=self.attn_drop.p if self.training else 0.,
            scale=self.scale)
        return self.proj_drop(self.proj(x.transpose(1, 2).flatten(2)))


@MODELS.register_module()
class MMPretrainImage(ImageModel):
    """A ViT or EVA-02 from mmpretrain.

    ``model.init_cfg`` names the weights. A ViT accepts any input size, EVA-02
    only ``img_size``.

    Args:
        model (dict): Config of mmpretrain's ``VisionTransformer`` or
            ``ViTEVA02``, with a class token and without ``img_size``. Its
            ``out_type`` and ``out_indices`` have no effect.
        img_size (int): Input size of the position embeddings.
        num_registers (int): Number of register tokens (arXiv:2309.16588),
            which mmpretrain does not have. Weights may contain them as
            ``register_tokens``.
    """
    stem = ('cls_token', 'pos_embed', 'patch_embed', 'pre_norm',
            'register_tokens')

    def __init__(self,
                 model: dict,
                 img_size: int = 224,
                 num_registers: int = 0) -> None:
        super().__init__()
        if find_class(model.get('type')) not in (VisionTransformer, ViTEVA02):
            raise ValueError(
                f"ILA does not know the blocks of '{model.get('type')}'; fix "
                '`model.backbone.image.model.type`, which is '
                "'mmpretrain.VisionTransformer' or 'mmpretrain.ViTEVA02'")
        if 'img_size' in model:
            raise ValueError('move `model.backbone.image.model.img_size` to '
                             '`model.backbone.image.img_size`')
        # With another `out_type`, some parameters would get no gradient.
        self.model = model = MODELS.build(
            dict(model, img_size=img_size, out_type='cls_token'))
        self.rotary = isinstance(model, ViTEVA02)
        if self.rotary:
            model.rope = PatchRotaryEmbedding(model.rope, num_registers)
            for block in model.layers:
                block.attn.__class__ = FusedRotaryAttention
                block.attn.rope = model.rope
        for module in model.modules():
            if isinstance(module, DropPath):
                # `torch.compile` does not support NumPy's numbers.
                module.drop_prob = float(module.drop_prob)
        if num_registers:
            model.register_tokens = nn.Parameter(
                trunc_normal_(
                    torch.empty(1, num_registers, model.embed_dims), std=0.02))
        model._register_load_state_dict_pre_hook(self._check_weights)
        self.num_prefix = 1 + num_registers
        self.embed_dims = self.out_channels = model.embed_dims
        self.num_heads = model.arch_settings['num_heads']
        if self.embed_dims % self.num_heads:
            raise ValueError(
                f'embed_dims={self.embed_dims} cannot be shared by num_heads='
                f'{self.num_heads}; fix `arch` of the image model')
        self.img_size = img_size
        self.patch_size = self._check_patches(model.patch_embed.projection)
        self.arch_settings = dict(
            model.arch_settings, patch_size=self.patch_size)

    @staticmethod
    def _check_patches(projection: nn.Conv2d) -> int:
        size, stride = projection.kernel_size, projection.stride
        if len({*size, *stride}) > 1:
            raise ValueError(
                'patches must be square and side by side, got '
                '{} x {} pixels every {} x {}; fix '.format(*size, *stride) +
                '`model.backbone.image.model.patch_size`, and `patch_cfg`')
        return size[0]

    @property
    def blocks(self) -> nn.Module:
        return self.model.layers

    def embed(self, images: Tensor) -> Tuple[Tensor, tuple]:
        model = self.model
        x, patch_grid = model.patch_embed(images)
        x = torch.cat([model.cls_token.expand(len(x), -1, -1), x], dim=1)
        x = model.drop_after_pos(x + model.resize_pos_embed(
            model.pos_embed,
            model.patch_resolution,
            patch_grid,
            mode=model.interpolate_mode,
            num_extra_tokens=model.num_extra_tokens))
        if self.num_prefix > 1:
            registers = model.register_tokens.expand(len(x), -1, -1)
            x = torch.cat([x[:, :1], registers, x[:, 1:]], dim=1)
        return model.pre_norm(x), (patch_grid, ) if self.rotary else ()

    def run(self, number: int, tokens: Tensor, positions: tuple) -> Tensor:
        return self.blocks[number](tokens, *positions)

    def normalize(self, tokens: Tensor) -> Tensor:
        return self.model.ln1(tokens) if self.model.final_norm else tokens

    def finish(self, tokens: Tensor) -> Tensor:
        return self.normalize(tokens[:, 0])

    def _check_weights(self, state_dict: dict, prefix: str, *args) -> None:
        """Reject weights of another model; MMEngine would only log them."""
        if prefix:
            return  # Part of a larger model, which checks its own weights.
        own = {
            name: value
            for name, value in self.model.state_dict().items()
            if '.lora_' not in name
        }
        optional = ('register_tokens', )
        if self.rotary:  # mmpretrain's files of EVA-02 lack the last norm.
            optional += ('ln1.', )
        known = ('layers.', 'pre_norm.', 'register_tokens')
        missing = [
            name for name in own.keys() - state_dict.keys()
            if not name.startswith(optional)
        ]
        others = [
            name for name in state_dict.keys() - own.keys()
            if name.startswith(known)
        ]
        if missing or others:
            found = describe_mismatch(missing, others, 'image model')
            raise ValueError(f'{found}; fix `model.backbone.image.model` and '
                             'the `prefix` of its `init_cfg`')
        for name in sorted(own.keys() & state_dict.keys()):
            theirs, ours = state_dict[name].shape, own[name].shape
            if theirs != ours:
                raise ValueError(
                    f"the weights' '{name}' is {tuple(theirs)}, the model's "
                    f'{tuple(ours)}; fix the sizes of `model.backbone.image`, '
                    'or take the weights of that size')

    def init_weights(self) -> None:
        """Initialise the weights, or load the file of ``model.init_cfg``.

        Raises:
            ValueError: The file holds weights of another image model, or none
                with its ``prefix``.
        """
        init_cfg = self.model.init_cfg
        if not isinstance(init_cfg, dict) or 'checkpoint' not in init_cfg:
            super().init_weights()
            return
        with naming_source(init_cfg['checkpoint']):
            try:
                super().init_weights()
            except AssertionError as error:  # From MMEngine, about `prefix`.
                raise ValueError(
                    f'{error}; fix the `prefix` of '
                    '`model.backbone.image.model.init_cfg`') from None
