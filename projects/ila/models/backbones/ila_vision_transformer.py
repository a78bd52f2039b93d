from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
import torch
import torch.nn as nn
from mmengine.model import ModuleDict, ModuleList
from mmpretrain.models.backbones.vision_transformer import VisionTransformer
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from mmaction.registry import MODELS
from ...utils import check_weights, convert_to_ila, is_alignment, naming_source
from ..layers import ALIGNMENT_LAYERS, LAYERS, SpatialLayer


class ILAFeatures(NamedTuple):
    """Features of ``B`` videos of ``T`` frames.

    Attributes:
        frames (Tensor): Projected class tokens, ``(B, T, E)``.
        patches (Tensor): Patch tokens of the last block, ``(B, T, L, C)``.
        points (Tensor, optional): Interactive points,
            ``(layers, B, T - 1, 2, 2)``: per pair the earlier and the later
            frame, each x and y in grid units; None for forms without an
            alignment. There are as many layers as ``temporal_layers``, the
            blocks that align, in their order.
        align_loss (Tensor, optional): Alignment loss of each of these blocks,
            ``(layers,)``; None where there is none or it was not asked for.
    """
    frames: Tensor
    patches: Tensor
    points: Optional[Tensor]
    align_loss: Optional[Tensor]


def check_frames(frames: int) -> None:
    """Raise a ValueError for videos that have no pairs of frames."""
    if frames < 2:
        raise ValueError('ILA aligns pairs of frames, got videos of '
                         f'{frames}; mend `clip_len` in the pipeline')


def refuse_alignment(form: str, alignment: Optional[dict]) -> None:
    """Raise a ValueError for an alignment of a form that has none."""
    if alignment:
        raise ValueError(f"the form '{form}' aligns nothing; leave "
                         '`model.backbone.alignment` out, or set it to None')


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


def recompute(layer: nn.Module, owner: nn.Module, *arguments) -> tuple:
    """Run a layer that is computed again in the backward pass.

    Running statistics are updated in the first computation only, those of
    what the layer shares as well: they are all in ``owner``.
    """
    if torch.compiler.is_compiling():  # It sees to the statistics itself.
        return checkpoint(layer, *arguments, use_reentrant=False)
    return checkpoint(
        layer,
        *arguments,
        use_reentrant=False,
        context_fn=lambda: (nullcontext(), keep_statistics(owner)))


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
            authors' released code. For comparison (paper, section 4.3) also
            other ways to model time, without alignment: ``'none'``,
            ``'shift'``, ``'divided'``, ``'message'`` or ``'neighbours'``, see
            the classes in :data:`LAYERS`. Defaults to ``'token'``.
        alignment (dict, optional): Arguments of ``ImplicitAlignment`` or, for
            the released form, ``ReleasedAlignment``. Forms without alignment
            take none.
        temporal_layers (Sequence[int], optional): Numbers, from 0 on and in
            any order, of the blocks that are of the form; the others are
            CLIP's, in which each frame is on its own. Defaults to all.
        share_predictor (bool): Whether the blocks that align have one point
            predictor together, ``alignment.predictor`` of the backbone,
            instead of one each. What they share includes the running
            statistics of its batch normalisations, to which each block adds
            its batch in turn. Forms without alignment have none.
            Defaults to False.
        freeze_clip (bool): Whether CLIP's own weights stay as they are and
            only what is added to them is trained, as the authors train the
            released form. What the token form adds only finds the points:
            with CLIP frozen it can hardly learn. Defaults to False.
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

    def __init__(self,
                 arch: Union[str, dict] = 'clip-b/16',
                 img_size: int = 224,
                 form: str = 'token',
                 alignment: Optional[dict] = None,
                 temporal_layers: Optional[Sequence[int]] = None,
                 share_predictor: bool = False,
                 freeze_clip: bool = False,
                 drop_path_rate: float = 0.,
                 with_cp: bool = False,
                 init_cfg: Optional[dict] = None) -> None:
        settings = self._check_arch(arch)
        if form not in LAYERS:
            raise ValueError(f'form must be one of {list(LAYERS)}, got '
                             f"'{form}'; mend `model.backbone.form`")
        layer_cfg = dict()
        if form in ALIGNMENT_LAYERS:
            layer_cfg.update(alignment=alignment or dict())
        else:
            refuse_alignment(form, alignment)
            if share_predictor:
                raise ValueError(f"the form '{form}' aligns nothing; leave "
                                 '`model.backbone.share_predictor` out, or '
                                 'set it to False')
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
        self.has_alignment = form in ALIGNMENT_LAYERS
        self.deployed = False
        self.with_cp = with_cp
        self.arch_settings = settings
        self.num_layers = settings['num_layers']
        self.temporal_layers = self._check_temporal_layers(
            temporal_layers, self.num_layers, form)
        temporal = partial(LAYERS[form], **layer_cfg)
        kinds = [
            temporal if number in self.temporal_layers else SpatialLayer
            for number in range(self.num_layers)
        ]
        rates = np.linspace(0, drop_path_rate, self.num_layers).tolist()
        self.layers = ModuleList(
            kind(
                embed_dims=self.embed_dims,
                num_heads=settings['num_heads'],
                feedforward_channels=settings['feedforward_channels'],
                drop_path_rate=rate,
                act_cfg=dict(type='mmaction.LeanQuickGELU'),
                norm_cfg=norm_cfg) for kind, rate in zip(kinds, rates))
        if share_predictor:
            self._share_predictor()
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

    @staticmethod
    def _check_temporal_layers(layers: Optional[Sequence[int]],
                               num_layers: int, form: str) -> Tuple[int, ...]:
        if layers is None:
            return tuple(range(num_layers))
        if form == 'none':
            raise ValueError("the form 'none' has no temporal layers; leave "
                             '`model.backbone.temporal_layers` out, or set it '
                             'to None')
        if not isinstance(layers, (list, tuple)) or any(
                not isinstance(number, int) or not 0 <= number < num_layers
                for number in layers) or len(set(layers)) < len(layers):
            raise ValueError(
                'temporal_layers must be a list of different '
                f'block numbers from 0 to {num_layers - 1}, got '
                f'{layers}; mend `model.backbone.temporal_layers`')
        if not layers:
            raise ValueError('temporal_layers is empty; mend '
                             '`model.backbone.temporal_layers`, or take '
                             "`model.backbone.form='none'`")
        return tuple(sorted(layers))

    def _share_predictor(self) -> None:
        """Let all blocks that align refer to the first one's predictor.

        It becomes the backbone's own and no submodule of the blocks. So it
        is once in the weights and parameters, which optimizers and
        safetensors ask for, and FSDP does not free it behind a block.
        """
        alignments = [layer.alignment for layer in self.aligned_layers]
        predictor = alignments[0].predictor
        self.alignment = ModuleDict(dict(predictor=predictor))
        for alignment in alignments:
            del alignment.predictor
            vars(alignment)['predictor'] = predictor
            # Of no use but that the weights' names tell which blocks align.
            alignment.register_buffer('shares_predictor', torch.tensor(1))

    @property
    def aligned_layers(self) -> List[nn.Module]:
        """list[nn.Module]: The blocks with an alignment, in their order."""
        if not self.has_alignment:
            return []
        return [self.layers[number] for number in self.temporal_layers]

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
            What CLIP does not have, such as the alignment, is as deep as the
            head.
        """
        name = param_name[len(prefix):]
        if is_alignment(name):
            name = 'proj.weight'
        elif name.startswith('pre_norm.'):
            name = 'cls_token'
        return super().get_layer_depth(prefix + name, prefix)

    def set_disturbance_scale(self, scale: float) -> None:
        """Scale the masks' disturbance in all blocks that align.

        Forms without alignment have no masks and stay as they are.

        Args:
            scale (float): 1 for the configured disturbance, 0 for none.
        """
        for layer in self.aligned_layers:
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

        Raises:
            ValueError: The videos have one frame, or the patches do not
                divide them.
        """
        batch, _, frames, height, width = x.shape
        patch_size = self.arch_settings['patch_size']
        check_frames(frames)
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
                x, layer_points, loss = recompute(layer, self, *arguments)
            else:
                x, layer_points, loss = layer(*arguments)
            if layer_points is not None:
                points.append(layer_points)
                losses.append(loss)

        return ILAFeatures(
            frames=self.proj(self.ln1(x[:, 0])).view(batch, frames, -1),
            patches=x[:, 1:].unflatten(0, (batch, frames)),
            points=torch.stack(points) if self.has_alignment else None,
            align_loss=torch.stack(losses)
            if self.has_alignment and with_loss else None)
