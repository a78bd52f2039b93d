from contextlib import contextmanager, nullcontext
from typing import Iterator, NamedTuple, Optional, Tuple, Union

import numpy as np
import torch
import torch.nn as nn
from mmengine.model import ModuleList
from mmpretrain.models.backbones.vision_transformer import (
    TransformerEncoderLayer, VisionTransformer)
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from mmaction.registry import MODELS
from ...utils import check_weights, convert_to_ila, is_alignment, naming_source
from ..common import ImplicitAlignment, ReleasedAlignment, fold_quick_gelu


class ILAFeatures(NamedTuple):
    """Features of ``B`` videos of ``T`` frames.

    Attributes:
        frames (Tensor): Projected class tokens, ``(B, T, E)``.
        patches (Tensor): Patch tokens of the last block, ``(B, T, L, C)``.
        points (Tensor): Interactive points, ``(layers, B, T - 1, 2, 2)``: per
            pair the earlier and the later frame, each x and y in grid units.
        align_loss (Tensor, optional): Alignment loss of each block,
            ``(layers,)``; None where it was not asked for.
    """
    frames: Tensor
    patches: Tensor
    points: Tensor
    align_loss: Optional[Tensor]


def patch_maps(tokens: Tensor, grid: Tuple[int, int, int]) -> Tensor:
    """Take the patches of all frames from their tokens.

    Args:
        tokens (Tensor): Class and patch tokens, ``(B * T, 1 + H * W, C)``.
        grid (tuple[int, int, int]): ``(T, H, W)``.

    Returns:
        Tensor: ``(B, T, H, W, C)``.
    """
    return tokens[:, 1:].unflatten(1, grid[1:]).unflatten(0, (-1, grid[0]))


class TokenAlignmentLayer(TransformerEncoderLayer):
    """Encoder layer of the paper (section 3.3).

    The aligned features of a frame are averaged into one mutual-information
    token. It joins the frame's tokens in the self-attention and is dropped
    before the MLP.

    Args:
        embed_dims (int): Channels of the tokens.
        alignment (dict): Arguments of :class:`ImplicitAlignment`.
        **kwargs: Arguments of mmpretrain's ``TransformerEncoderLayer``.
    """

    def __init__(self, embed_dims: int, alignment: dict, **kwargs) -> None:
        super().__init__(embed_dims, **kwargs)
        self.alignment = ImplicitAlignment(embed_dims, **alignment)

    def switch_to_deploy(self) -> None:
        """Fold what can be folded, for inference only."""
        self.alignment.switch_to_deploy()
        fold_quick_gelu(self.ffn)

    def forward(
            self,
            x: Tensor,
            grid: Tuple[int, int, int],
            disturb: Optional[bool] = None,
            with_loss: bool = True) -> Tuple[Tensor, Tensor, Optional[Tensor]]:
        """Run the layer.

        Args:
            x (Tensor): Class and patch tokens, ``(B * T, 1 + H * W, C)``.
            grid (tuple[int, int, int]): ``(T, H, W)``.
            disturb (bool, optional): See :class:`ImplicitAlignment`.
            with_loss (bool): Whether to compute the alignment loss.

        Returns:
            tuple: Tokens like ``x``, points ``(B, T - 1, 2, 2)`` and the loss
            (scalar or None).
        """
        mutual, points, loss = self.alignment(
            patch_maps(x, grid), disturb, with_loss)
        tokens = torch.cat([x, mutual.flatten(0, 1)[:, None]], dim=1)
        x = x + self.attn(self.ln1(tokens))[:, :-1]
        return self.ffn(self.ln2(x), identity=x), points, loss


class ReleasedAlignmentLayer(TransformerEncoderLayer):
    """Encoder layer of the authors' released code.

    A linear layer and a norm come before the alignment. The aligned frame and
    the predictor's features are each added to the tokens through a linear
    layer of its own, zero at first, before the self-attention. The class
    token passes by the alignment, but not by those layers.

    Args:
        embed_dims (int): Channels of the tokens.
        alignment (dict): Arguments of :class:`ReleasedAlignment`.
        **kwargs: Arguments of mmpretrain's ``TransformerEncoderLayer``.
    """

    def __init__(self, embed_dims: int, alignment: dict, **kwargs) -> None:
        super().__init__(embed_dims, **kwargs)
        self.message_fc = nn.Linear(embed_dims, embed_dims)
        self.message_ln = nn.LayerNorm(embed_dims)
        self.alignment = ReleasedAlignment(embed_dims, **alignment)
        self.temporal_skip_fc = nn.Linear(embed_dims, embed_dims)
        self.temporal_skip_align_fc = nn.Linear(embed_dims, embed_dims)
        self.class_skip_fc = None

    def init_weights(self) -> None:
        """Initialise; the two skip layers start from zero."""
        super().init_weights()
        for layer in (self.temporal_skip_fc, self.temporal_skip_align_fc):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    @torch.no_grad()
    def switch_to_deploy(self) -> None:
        """Fold what can be folded, for inference only."""
        self.alignment.switch_to_deploy()
        fold_quick_gelu(self.ffn)
        # The patches' temporal features pass two linear layers in a row, the
        # class token two beside each other.
        first, second = self.alignment.temporal_fc, self.temporal_skip_fc
        beside = self.temporal_skip_align_fc
        self.class_skip_fc = nn.Linear(self.embed_dims,
                                       self.embed_dims).to(second.weight)
        self.class_skip_fc.weight.copy_(second.weight + beside.weight)
        self.class_skip_fc.bias.copy_(second.bias + beside.bias)
        first.bias.copy_(second(first.bias))
        first.weight.copy_(second.weight @ first.weight)
        self.temporal_skip_fc = nn.Identity()

    def _skip_class_token(self, message: Tensor) -> Tensor:
        if self.class_skip_fc is not None:
            return self.class_skip_fc(message)
        return self.temporal_skip_fc(message) + self.temporal_skip_align_fc(
            message)

    def forward(
            self,
            x: Tensor,
            grid: Tuple[int, int, int],
            disturb: Optional[bool] = None,
            with_loss: bool = True) -> Tuple[Tensor, Tensor, Optional[Tensor]]:
        """Run the layer; see :meth:`TokenAlignmentLayer.forward`."""
        message = self.message_ln(self.message_fc(x))
        aligned, temporal, points, loss = self.alignment(
            patch_maps(message, grid), disturb, with_loss)

        skip = self.temporal_skip_fc(temporal) + self.temporal_skip_align_fc(
            aligned)
        x = x + torch.cat([
            self._skip_class_token(message[:, :1]),
            skip.flatten(2, 3).flatten(0, 1)
        ],
                          dim=1)
        x = x + self.attn(self.ln1(x))
        return self.ffn(self.ln2(x), identity=x), points, loss


@contextmanager
def keep_statistics(module: nn.Module) -> Iterator[None]:
    """Let normalisations leave their running statistics as they are."""
    norms = [norm for norm in module.modules() if isinstance(norm, _BatchNorm)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0., None
    try:
        yield
    finally:
        for norm, values in zip(norms, before):
            norm.momentum, norm.num_batches_tracked = values


def recompute(layer: nn.Module, *arguments) -> tuple:
    """Run a layer that is computed again in the backward pass.

    Running statistics are updated in the first computation only.
    """
    if torch.compiler.is_compiling():  # It sees to the statistics itself.
        return checkpoint(layer, *arguments, use_reentrant=False)
    return checkpoint(
        layer,
        *arguments,
        use_reentrant=False,
        context_fn=lambda: (nullcontext(), keep_statistics(layer)))


@MODELS.register_module()
class ILAVisionTransformer(VisionTransformer):
    """CLIP's vision transformer with implicit learnable alignment.

    Any number of frames from two on and any input size that the patches
    divide are accepted; position embeddings are interpolated.

    Args:
        arch (str | dict): ``'clip-b/32'``, ``'clip-b/16'``, ``'clip-l/14'``
            or a dict with ``embed_dims``, ``num_layers``, ``num_heads``,
            ``feedforward_channels``, ``patch_size`` and ``out_channels``
            (size of CLIP's joint embedding).
        img_size (int): Input size of the position embeddings.
            Defaults to 224.
        form (str): ``'token'``, the paper's, or ``'released'``, that of the
            authors' released code. Defaults to ``'token'``.
        alignment (dict): Arguments of ``ImplicitAlignment`` or, for the
            released form, ``ReleasedAlignment``.
        freeze_clip (bool): Whether CLIP's own weights stay as they are and
            only the alignment is trained. Defaults to False.
        drop_path_rate (float): Stochastic depth rate of the last block.
            Defaults to 0.
        with_cp (bool): Whether training computes the blocks again in the
            backward pass instead of keeping what is in them, which takes less
            memory and more time. Defaults to False.
        init_cfg (dict, optional): Initialization config.
    """
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
    layer_types = dict(
        token=TokenAlignmentLayer, released=ReleasedAlignmentLayer)

    def __init__(self,
                 arch: Union[str, dict] = 'clip-b/16',
                 img_size: int = 224,
                 form: str = 'token',
                 alignment: dict = dict(),
                 freeze_clip: bool = False,
                 drop_path_rate: float = 0.,
                 with_cp: bool = False,
                 init_cfg: Optional[dict] = None) -> None:
        settings = self._check_arch(arch)
        if form not in self.layer_types:
            raise ValueError(f"form must be one of {list(self.layer_types)}, "
                             f"got '{form}'; mend `model.backbone.form`")
        norm_cfg = dict(type='LN', eps=1e-5)
        # The parent builds all but the layers, which are ILA's.
        super().__init__(
            arch=dict(settings, num_layers=0),
            img_size=img_size,
            patch_size=settings['patch_size'],
            out_indices=0,
            norm_cfg=norm_cfg,
            pre_norm=True,
            init_cfg=init_cfg)
        self.form = form
        self.deployed = False
        self.with_cp = with_cp
        self.arch_settings = settings
        self.num_layers = settings['num_layers']
        self.layers = ModuleList(self.layer_types[form](
            embed_dims=self.embed_dims,
            alignment=alignment,
            num_heads=settings['num_heads'],
            feedforward_channels=settings['feedforward_channels'],
            drop_path_rate=rate,
            act_cfg=dict(type='mmaction.LeanQuickGELU'),
            norm_cfg=norm_cfg) for rate in np.linspace(
                0, drop_path_rate, self.num_layers).tolist())
        self.proj = nn.Linear(
            self.embed_dims, settings['out_channels'], bias=False)
        if freeze_clip:
            self._freeze_clip()

    @classmethod
    def _check_arch(cls, arch: Union[str, dict]) -> dict:
        if isinstance(arch, str):
            if arch not in cls.arch_zoo:
                raise ValueError(
                    f"unknown arch '{arch}'; give `model.backbone.arch` one "
                    f'of {list(cls.arch_zoo)} or a dict of sizes')
            return cls.arch_zoo[arch]
        missing = set(cls.arch_zoo['clip-b/16']) - set(arch)
        if missing:
            raise ValueError('the dict `model.backbone.arch` lacks '
                             f'{sorted(missing)}')
        return arch

    def _freeze_clip(self) -> None:
        for name, parameter in self.named_parameters():
            if not is_alignment(name):
                parameter.requires_grad = False

    def _load_from_state_dict(self, state_dict: dict, prefix: str,
                              local_metadata: dict, *args) -> None:
        if not prefix:  # Loaded alone, not as a part of a recognizer.
            self._prepare_loaded_weights(
                state_dict, local_metadata.get('source', 'weights'))
        super()._load_from_state_dict(state_dict, prefix, local_metadata,
                                      *args)

    def _prepare_loaded_weights(self, state_dict: dict, source: str) -> None:
        """Take the backbone out of weights of CLIP or a recognizer."""
        part = 'backbone.'
        weights = convert_to_ila(state_dict)
        if not any(name.startswith(part) for name in weights):
            weights = {part + name: value for name, value in weights.items()}
        weights = {
            name: value
            for name, value in weights.items() if name.startswith(part)
        }
        own = {part + name: value for name, value in self.state_dict().items()}
        with naming_source(source):
            check_weights(own, weights)
        state_dict.clear()
        state_dict.update(
            (name[len(part):], value) for name, value in weights.items())

    def switch_to_deploy(self) -> None:
        """Make inference faster, with the same results up to rounding.

        Normalisations are folded into convolutions, linear layers that follow
        each other into one, and QuickGELU is computed as SiLU. It is done in
        place, once the weights are loaded, and can not be undone: names and
        shapes of the weights change.
        """
        if not self.deployed:
            self.deployed = True
            for layer in self.layers:
                layer.switch_to_deploy()

    def get_layer_depth(self,
                        param_name: str,
                        prefix: str = '') -> Tuple[int, int]:
        """Get the depth of a parameter, for layer-wise learning rates.

        Args:
            param_name (str): Name of the parameter.
            prefix (str): Its part that is not the backbone's.

        Returns:
            tuple[int, int]: Depth and number of depths. The stem has depth 0.
            The alignment, which CLIP does not have, is as deep as the head.
        """
        name = param_name[len(prefix):]
        if is_alignment(name):
            name = 'proj.weight'
        elif name.startswith('pre_norm.'):
            name = 'cls_token'
        return super().get_layer_depth(prefix + name, prefix)

    def set_disturbance_scale(self, scale: float) -> None:
        """Scale the masks' disturbance in all blocks.

        Args:
            scale (float): 1 for the configured disturbance, 0 for none.
        """
        for layer in self.layers:
            layer.alignment.disturbance_scale = scale

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
            ILAFeatures: Frame and patch features, points and losses.
        """
        batch, _, frames, height, width = x.shape
        patch_size = self.arch_settings['patch_size']
        if frames < 2:
            raise ValueError('ILA aligns pairs of frames, got videos of '
                             f'{frames}; mend `clip_len` in the pipeline')
        if height % patch_size or width % patch_size:
            raise ValueError(
                f'patches of {patch_size} pixels do not divide an input of '
                f'{height} x {width}; mend the crop size in the pipeline')
        x, patch_grid = self.patch_embed(x.transpose(1, 2).flatten(0, 1))
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1)
        x = self.pre_norm(x + self.resize_pos_embed(
            self.pos_embed,
            self.patch_resolution,
            patch_grid,
            mode=self.interpolate_mode,
            num_extra_tokens=self.num_extra_tokens))

        points, losses = [], []
        for layer in self.layers:
            arguments = x, (frames, *patch_grid), disturb, with_loss
            if self.with_cp and self.training:
                x, layer_points, loss = recompute(layer, *arguments)
            else:
                x, layer_points, loss = layer(*arguments)
            points.append(layer_points)
            losses.append(loss)

        return ILAFeatures(
            frames=self.proj(self.ln1(x[:, 0])).view(batch, frames, -1),
            patches=x[:, 1:].unflatten(0, (batch, frames)),
            points=torch.stack(points),
            align_loss=torch.stack(losses) if with_loss else None)
