from typing import List, NamedTuple, Optional, Tuple

import torch
import torch.nn as nn
from mmcv.cnn.bricks import DropPath
from mmengine.model import BaseModule, ModuleList
from mmengine.model.weight_init import trunc_normal_
from mmpretrain.models.backbones.vision_transformer import VisionTransformer
from mmpretrain.models.backbones.vit_eva02 import ViTEVA02
from mmpretrain.models.utils import RotaryEmbeddingFast
from torch import Tensor

from mmaction.registry import MODELS
from ...utils import naming_source
from ..common import ImplicitAlignment
from ..layers.token_alignment_layer import add_to_class_tokens
from .ila_vision_transformer import ILAFeatures, check_frames, refuse_alignment


class PatchRotaryEmbedding(RotaryEmbeddingFast):
    """EVA-02's rotary positions, for more tokens than the patches.

    What follows the patches has no position and stays as it is. Unlike its
    parent it takes one input size only: the angles are a part of EVA-02's
    weights, and those that the parent computes for another size do not fit
    them.
    """

    def forward(self, x: Tensor, patch_resolution: Tuple[int, int]) -> Tensor:
        """Rotate the patches.

        Args:
            x (Tensor): Queries or keys of ``H * W`` patches and ``N`` other
                tokens, ``(B, heads, H * W + N, head_dims)``.
            patch_resolution (tuple[int, int]): ``(H, W)``.

        Returns:
            Tensor: Like ``x``.

        Raises:
            ValueError: There are no positions for this input size.
        """
        if patch_resolution != self.patch_resolution:
            own, given = ('{} x {}'.format(*grid)
                          for grid in (self.patch_resolution,
                                       patch_resolution))
            raise ValueError(
                f"EVA-02's rotary positions are of {own} patches, the input "
                f'has {given}; mend the crop size in the pipeline, or '
                '`model.backbone.img_size`')
        patches, others = x.tensor_split((len(self.freqs_cos), ), dim=2)
        rotated = super().forward(patches, patch_resolution)
        return torch.cat([rotated, others], dim=2)


class AlignedLayer(NamedTuple):
    """A block's attention and the alignment that acts in it."""
    attn: nn.Module
    alignment: ImplicitAlignment


@MODELS.register_module()
class ILAImageBackbone(BaseModule):
    """An image backbone of mmpretrain with implicit learnable alignment.

    It is the token form of ILA, which the paper's ablations show on other
    backbones than CLIP's as well: in every block a mutual-information token
    of each frame joins the self-attention. The image backbone stays as
    mmpretrain builds it and takes its weights by ``image_backbone.init_cfg``.

    Any number of frames from two on is accepted and, except by EVA-02, any
    input size.

    Args:
        image_backbone (dict): Config of mmpretrain's ``VisionTransformer`` or
            ``ViTEVA02``, with a class token and without ``img_size``. Its
            ``out_type`` and ``out_indices`` are of no effect.
        img_size (int): Input size of the position embeddings.
            Defaults to 224.
        form (str): ``'token'`` or, for comparison, ``'none'``: each frame is
            on its own. Defaults to ``'token'``.
        alignment (dict, optional): Arguments of ``ImplicitAlignment``. The
            form ``'none'`` takes none.
        num_registers (int): Learnt tokens without position that take part in
            all blocks and are dropped then (arXiv:2309.16588), of which
            mmpretrain has none. Weights may hold them as ``register_tokens``.
            Defaults to 0.
        freeze_image (bool): Whether the image backbone's weights, registers
            among them, stay as they are and only the alignment is trained.
            Defaults to False.
    """

    def __init__(self,
                 image_backbone: dict,
                 img_size: int = 224,
                 form: str = 'token',
                 alignment: Optional[dict] = None,
                 num_registers: int = 0,
                 freeze_image: bool = False) -> None:
        super().__init__()
        if form not in ('token', 'none'):
            raise ValueError("form must be 'token' or 'none' on the image "
                             f"backbones of mmpretrain, got '{form}'; mend "
                             '`model.backbone.form`')
        if form == 'none':
            refuse_alignment(form, alignment)
        kind = image_backbone['type']
        if MODELS.get(kind) not in (VisionTransformer, ViTEVA02):
            raise ValueError(
                f"ILA does not know the blocks of '{kind}'; mend "
                '`model.backbone.image_backbone.type`, which is '
                "'mmpretrain.VisionTransformer' or 'mmpretrain.ViTEVA02'")
        if 'img_size' in image_backbone:
            raise ValueError('move `model.backbone.image_backbone.img_size` '
                             'to `model.backbone.img_size`')
        # Other types would leave parameters without a gradient.
        image = MODELS.build(
            dict(image_backbone, img_size=img_size, out_type='cls_token'))
        self.rotary = isinstance(image, ViTEVA02)
        if self.rotary:
            image.rope = PatchRotaryEmbedding(2 * image.rope.half_dim,
                                              image.patch_resolution)
            for layer in image.layers:
                layer.attn.rope = image.rope
        for module in image.modules():
            if isinstance(module, DropPath):
                # NumPy's numbers could not be compiled.
                module.drop_prob = float(module.drop_prob)
        self.form = form
        self.has_alignment = form == 'token'
        self.num_registers = num_registers
        if num_registers:
            image.register_tokens = nn.Parameter(
                trunc_normal_(
                    torch.empty(1, num_registers, image.embed_dims), std=0.02))
        image._register_load_state_dict_pre_hook(self._check_image_weights)
        self.image_backbone = image
        self.embed_dims = image.embed_dims
        self.num_layers = len(image.layers)
        self.temporal_layers = tuple(
            range(self.num_layers if self.has_alignment else 0))
        self.arch_settings = dict(
            image.arch_settings,
            patch_size=image.patch_embed.projection.kernel_size[0])
        self.alignment = ModuleList(
            ImplicitAlignment(self.embed_dims, **(alignment or dict()))
            for _ in self.temporal_layers)
        self.deployed = False
        if freeze_image:
            image.requires_grad_(False)

    @property
    def aligned_layers(self) -> List[AlignedLayer]:
        """list[AlignedLayer]: What tools look into, block by block."""
        return [
            AlignedLayer(layer.attn, alignment) for layer, alignment in zip(
                self.image_backbone.layers, self.alignment)
        ]

    def _check_image_weights(self, state_dict: dict, prefix: str,
                             *args) -> None:
        """Refuse weights of another image backbone.

        MMEngine skips what does not fit and only logs it.
        """
        if prefix:
            return  # Loaded as a part of a model, which checks its weights.
        own = self.image_backbone.state_dict()
        optional = ('register_tokens', )
        if self.rotary:  # mmpretrain's files of EVA-02 lack the last norm.
            optional += ('ln1.', )
        known = ('layers.', 'pre_norm.', 'register_tokens')
        missing = sorted(name for name in own.keys() - state_dict.keys()
                         if not name.startswith(optional))
        others = sorted(name for name in state_dict.keys() - own.keys()
                        if name.startswith(known))
        if missing or others:
            raise ValueError(
                f'the weights lack {len(missing)} entries that the image '
                f"backbone needs ({', '.join(missing[:3]) or 'none'}) and "
                f'have {len(others)} that it lacks '
                f"({', '.join(others[:3]) or 'none'}); mend "
                '`model.backbone.image_backbone` and the `prefix` of its '
                '`init_cfg`')
        for name in sorted(own.keys() & state_dict.keys()):
            theirs, ours = state_dict[name].shape, own[name].shape
            if theirs != ours:
                raise ValueError(
                    f"the weights' '{name}' is {tuple(theirs)}, the model's "
                    f'{tuple(ours)}; mend the sizes of `model.backbone`, or '
                    'take the weights of that size')

    def init_weights(self) -> None:
        """Initialise the weights.

        Raises:
            ValueError: The file of ``image_backbone.init_cfg`` holds another
                image backbone's weights, or none with its prefix.
        """
        init_cfg = self.image_backbone.init_cfg
        if not isinstance(init_cfg, dict) or 'checkpoint' not in init_cfg:
            super().init_weights()
            return
        with naming_source(init_cfg['checkpoint']):
            try:
                super().init_weights()
            except AssertionError as error:  # MMEngine's, on the prefix.
                raise ValueError(
                    f'{error}; mend the `prefix` of '
                    '`model.backbone.image_backbone.init_cfg`') from None

    def switch_to_deploy(self) -> None:
        """Make inference faster, with the same results up to rounding.

        Normalisations of the predictors are folded into convolutions, in
        place, once the weights are loaded; it can not be undone.
        """
        if not self.deployed:
            self.deployed = True
            for alignment in self.alignment:
                alignment.switch_to_deploy()

    def get_layer_depth(self,
                        param_name: str,
                        prefix: str = '') -> Tuple[int, int]:
        """Get the depth of a parameter, for layer-wise learning rates.

        Args:
            param_name (str): Name of the parameter.
            prefix (str): Its part that is not the backbone's.

        Returns:
            tuple[int, int]: Depth and number of depths. The stem has depth 0;
            the alignment is as deep as the head.
        """
        return self.image_backbone.get_layer_depth(
            param_name.replace('register_tokens', 'cls_token'),
            f'{prefix}image_backbone.')

    def set_disturbance_scale(self, scale: float) -> None:
        """Scale the masks' disturbance in all blocks.

        Args:
            scale (float): 1 for the configured disturbance, 0 for none.
        """
        for alignment in self.alignment:
            alignment.disturbance_scale = scale

    def _embed(self, images: Tensor) -> Tuple[Tensor, Tuple[int, int]]:
        """Make the tokens as the image backbone does.

        Args:
            images (Tensor): ``(N, 3, H, W)``.

        Returns:
            tuple: Class token, ``L`` patches and registers,
            ``(N, 1 + L + registers, C)``, and the patches' rows and columns.
        """
        image = self.image_backbone
        x, patch_grid = image.patch_embed(images)
        x = torch.cat([image.cls_token.expand(len(x), -1, -1), x], dim=1)
        x = image.drop_after_pos(x + image.resize_pos_embed(
            image.pos_embed,
            image.patch_resolution,
            patch_grid,
            mode=image.interpolate_mode,
            num_extra_tokens=image.num_extra_tokens))
        if self.num_registers:
            registers = image.register_tokens.expand(len(x), -1, -1)
            x = torch.cat([x, registers], dim=1)
        return image.pre_norm(x), patch_grid

    def forward(self,
                x: Tensor,
                disturb: Optional[bool] = None,
                with_loss: bool = True) -> ILAFeatures:
        """Extract features.

        Args:
            x (Tensor): Normalised videos, ``(B, 3, T, H, W)``.
            disturb (bool, optional): Whether to disturb the alignment's
                masks. None means in training only.
            with_loss (bool): Whether to compute the alignment losses.

        Returns:
            ILAFeatures: Frame and patch features, points and losses. There is
            no projection: frames have the image backbone's width.

        Raises:
            ValueError: The videos have one frame.
        """
        batch, _, frames = x.shape[:3]
        check_frames(frames)
        x, patch_grid = self._embed(x.transpose(1, 2).flatten(0, 1))

        def patches(x: Tensor) -> Tensor:
            x = x[:, 1:x.shape[1] - self.num_registers]
            return x.unflatten(0, (batch, frames))

        image = self.image_backbone
        positions = (patch_grid, ) if self.rotary else ()
        points, losses = [], []
        for number, layer in enumerate(image.layers):
            if number not in self.temporal_layers:
                x = layer(x, *positions)
                continue
            alignment = self.alignment[number]
            mutual, change, layer_points, loss = alignment(
                patches(x).unflatten(2, patch_grid), disturb, with_loss)
            x = add_to_class_tokens(x, change)
            x = torch.cat([x, mutual.flatten(0, 1)[:, None]], dim=1)
            # The MLP takes each token by itself, so that the mutual ones may
            # be dropped behind it as well.
            x = layer(x, *positions)[:, :-1]
            points.append(layer_points)
            losses.append(loss)

        cls_token = x[:, 0]
        if image.final_norm:
            cls_token = image.ln1(cls_token)
        return ILAFeatures(
            frames=cls_token.unflatten(0, (batch, frames)),
            patches=patches(x),
            points=torch.stack(points) if self.has_alignment else None,
            align_loss=torch.stack(losses)
            if self.has_alignment and with_loss else None)
