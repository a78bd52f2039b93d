import math
import re
from typing import List, Optional, Tuple
from unittest import mock

import torch
import torch.nn as nn
from mmengine.runner import CheckpointLoader
from torch import Tensor

from mmaction.registry import MODELS
from ...utils import naming_source
from ...weights import find_weights
from ...weights.check import check_finite, describe_mismatch
from .image_model import ImageModel


@MODELS.register_module()
class TimmImage(ImageModel):
    """A ``VisionTransformer`` or ``Eva`` model of timm, by its name.

    These include DINOv2 and v3, SigLIP 2, Perception Encoder, EVA-02 and
    CLIP models from other training runs. The input size may be any multiple
    of the patch size.

    Args:
        model (str): Name of the model in timm, such as
            ``'vit_base_patch14_reg4_dinov2'``.
        pretrained (bool): Whether :meth:`init_weights` loads timm's weights.
            Defaults to False.
        **kwargs: Other arguments of ``timm.create_model``, such as
            ``img_size``, the input size of the position embeddings;
            ``depth``, the number of blocks to keep, also from a weight file;
            or ``pretrained_cfg_overlay=dict(file=...)``, the weight file.
            ``num_classes`` is the number of channels of a projection of the
            features; the default, 0, means no projection.

    Raises:
        ValueError: timm has no such model, it is of another family, or the
            settings do not fit videos.
    """
    hands_on = ('timm.create_model',
                'timm.models.vision_transformer.VisionTransformer',
                'timm.models.eva.Eva')
    # The only value that each of these may have, and why.
    fixed = dict(
        checkpoint_path=('', 'weights are read from `pretrained_cfg_overlay`'),
        dynamic_img_size=(True, 'frames may have any size'),
        features_only=(False, 'the blocks are needed'),
        in_chans=(3, 'frames have three channels'),
        patch_drop_rate=(0, 'frames need all of their patches'))
    stem = ('cls_token', 'reg_token', 'pos_embed', 'patch_embed', 'norm_pre',
            'rope')
    pooling = ('model.attn_pool.', 'model.head.')

    def __init__(self, model: str, pretrained: bool = False, **kwargs) -> None:
        # Importing them takes a second, and most configs do not need them.
        import timm
        from timm.models.eva import Eva
        from timm.models.vision_transformer import VisionTransformer
        super().__init__()
        self.settings = dict(
            model_name=model, num_classes=0, dynamic_img_size=True)
        self.settings.update(kwargs)
        self.pretrained = pretrained
        for key, (value, reason) in self.fixed.items():
            if kwargs.get(key, value) != value:
                raise ValueError(f'{reason}; remove '
                                 f'`model.backbone.image.{key}`')
        if not isinstance(pretrained, bool):
            raise ValueError(
                f"pretrained must be True or False, got '{pretrained}'; fix "
                '`model.backbone.image.pretrained`. A file of weights goes '
                'into `pretrained_cfg_overlay=dict(file=...)`')
        try:
            self.model = timm.create_model(**self.settings)
        except Exception as error:  # From timm, its hub or the network.
            raise ValueError(
                f"timm cannot build '{model}' ({type(error).__name__}: "
                f'{error}); give `model.backbone.image` the name and settings '
                'of a `VisionTransformer` or an `Eva` model of timm') from None
        # Some of timm's models have parallel blocks, which lack `attn`.
        if type(self.model) not in (VisionTransformer, Eva) or not all(
                hasattr(block, 'attn') for block in self.blocks):
            raise ValueError(
                f"ILA does not know the blocks of '{model}'; give "
                '`model.backbone.image.model` the name of a '
                '`VisionTransformer` or an `Eva` model of timm')
        if not len(self.blocks) or not self.model.global_pool:
            raise ValueError(
                'blocks and one feature of each frame are needed; remove '
                '`depth` and `global_pool` from `model.backbone.image`')
        # With a convolutional stem, a patch spans more than `patch_size`.
        height, width = self.model.patch_embed.feat_ratio(as_scalar=False)
        if height != width:
            raise ValueError(f'patches must be square, got {height} x {width};'
                             ' fix `model.backbone.image.patch_size`')
        self._register_load_state_dict_pre_hook(self._resize_positions)
        self.num_prefix = self.model.num_prefix_tokens
        self.has_class_token = self.model.cls_token is not None
        self.embed_dims = self.model.embed_dim
        self.num_heads = self.blocks[0].attn.num_heads
        self.img_size = self.model.patch_embed.img_size[0]
        self.patch_size = height
        self.out_channels = (
            self.model.num_classes or self.model.head_hidden_size)
        self.arch_settings = dict(
            model=model,
            embed_dims=self.embed_dims,
            num_layers=len(self.blocks),
            num_heads=self.num_heads,
            patch_size=self.patch_size)

    @property
    def blocks(self) -> nn.Module:
        return self.model.blocks

    def embed(self, images: Tensor) -> Tuple[Tensor, Optional[Tensor]]:
        model, rope = self.model, None
        x = model._pos_embed(model.patch_embed(images))
        if isinstance(x, tuple):  # From an `Eva` model.
            x, rope = x
        if rope is not None:
            # Sines and cosines for one more token, which is not rotated.
            sin, cos = rope.chunk(2, dim=-1)
            still = [torch.zeros_like(sin), torch.ones_like(cos)]
            still = torch.cat(still, dim=-1)[..., :1, :]
            rope = torch.cat([rope, still], dim=-2)
        return model.norm_pre(x), rope

    def run(self, number: int, tokens: Tensor,
            positions: Optional[Tensor]) -> Tensor:
        block = self.blocks[number]
        if positions is None:
            return block(tokens)
        if getattr(self.model, 'rope_mixed', False):  # One for each block.
            positions = positions[number]
        rotated = tokens.shape[1] - self.num_prefix
        return block(tokens, rope=positions[..., :rotated, :])

    def normalize(self, tokens: Tensor) -> Tensor:
        # One of the two is an identity; timm applies `fc_norm` after pooling.
        return self.model.fc_norm(self.model.norm(tokens))

    def finish(self, tokens: Tensor) -> Tensor:
        return self.model.forward_head(self.model.norm(tokens))

    def _resize_positions(self, state_dict: dict, prefix: str, *args) -> None:
        """Interpolate loaded positions as timm does for other input sizes.

        Raises:
            ValueError: The positions are for an input that is not square.
        """
        from timm.layers import resample_abs_pos_embed
        name, own = f'{prefix}model.pos_embed', self.model.pos_embed
        given = state_dict.get(name)
        if own is None or given is None or own.shape == given.shape:
            return
        num_prefix = 0 if self.model.no_embed_class else self.num_prefix
        patches = given.shape[1] - num_prefix
        if math.isqrt(patches)**2 != patches:
            raise ValueError(
                f"the weights' positions are of {patches} patches, not of a "
                'square; fix `model.backbone.image.img_size`')
        state_dict[name] = resample_abs_pos_embed(
            given, [*self.model.patch_embed.grid_size],
            num_prefix_tokens=num_prefix)

    def _is_surplus(self, name: str) -> bool:
        """Whether a weight belongs to a block that ``depth`` leaves out."""
        block = re.match(r'blocks\.(\d+)\.', name)
        return block is not None and int(block[1]) >= len(self.blocks)

    def _read_overlay(self) -> dict:
        """Read the weight file of the settings like any other weight file.

        Which files timm can read depends on its release, and it does not
        detect damaged ones. Its ``.npz`` files have other names of weights
        and are left to timm.
        """
        overlay = dict(self.settings.get('pretrained_cfg_overlay') or {})
        path = overlay.get('file') or overlay.get('url')
        if not path or overlay.get('state_dict') or path.endswith('.npz'):
            return self.settings
        checkpoint = CheckpointLoader.load_checkpoint(path, 'cpu')
        overlay['state_dict'] = find_weights(checkpoint, path)
        # Any other source would take precedence.
        overlay['source'] = ''
        return dict(self.settings, pretrained_cfg_overlay=overlay)

    def init_weights(self) -> None:
        """Load timm's weights if ``pretrained``, else keep the initial ones.

        Raises:
            FileNotFoundError: The weight file does not exist.
            ValueError: The weights cannot be fetched or read, contain more
                than data, contain NaN or infinite values, or are of another
                model.
        """
        if not self.pretrained:
            return
        import timm
        settings = self._read_overlay()
        name = self.settings['model_name']
        missing: List[str] = []
        surplus: List[str] = []

        def load(module: nn.Module, state_dict: dict, **kwargs) -> tuple:
            weights = {
                name: value
                for name, value in state_dict.items()
                if not self._is_surplus(name)
            }
            result = nn.Module.load_state_dict(module, weights, **kwargs)
            missing.extend(result.missing_keys)
            surplus.extend(result.unexpected_keys)
            return result

        try:
            # timm only logs weights that are missing from a file.
            with mock.patch.object(type(self.model), 'load_state_dict', load):
                source = timm.create_model(pretrained=True, **settings)
        except Exception as error:  # From timm, its hub or the network.
            raise ValueError(
                f"timm cannot fetch the weights of '{name}' "
                f"({type(error).__name__}: {' '.join(str(error).split())}); "
                'download them, or '
                'set `model.backbone.image.pretrained` to False') from error
        with naming_source(f"timm's weights of '{name}'"):
            check_finite(source.state_dict())
            # A file may lack a projection that the user added, and may have a
            # pooling that this model does not use.
            missing = [
                name for name in missing if name.split('.')[0] != 'head'
            ]
            surplus = [
                name for name in surplus
                if name.startswith(('blocks.', *self.stem))
            ]
            if missing or surplus:
                found = describe_mismatch(missing, surplus, 'image model')
                raise ValueError(
                    f'{found}; take a file of this model, or fix the settings '
                    'of `model.backbone.image`')
        self.model.load_state_dict(source.state_dict())
