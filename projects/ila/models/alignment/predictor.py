import warnings
from typing import Optional, Tuple

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmcv.cnn import ConvModule, DepthwiseSeparableConvModule
from mmengine.model import BaseModule
from torch import Tensor

from mmaction.registry import MODELS
from ...ops import compute_dtype, has_kernels, pair_depthwise_conv, pair_points
from .pairs import Pairs


def halve(x: Tensor) -> Tensor:
    """Max-pool ``(N, C, H, W)`` by two; a side of one patch is kept."""
    return F.max_pool2d(x, [min(2, side) for side in x.shape[-2:]])


def is_folded(layer: ConvModule) -> bool:
    """Whether the layer's normalisation was folded into its convolution."""
    return isinstance(layer.norm, nn.Identity)


def infers_in_half(x: Tensor) -> bool:
    return not torch.is_grad_enabled() and compute_dtype(x).itemsize == 2


class PairConv(ConvModule):
    """Convolution over the concatenated patch features of both frames.

    Each half of the input channels belongs to one of the frames, so it is
    applied to that frame without concatenation. The input is
    ``(B, T, H, W, C)``, the output ``(B * (T - 1), out_channels, H, W)``.
    """

    def forward(self, patches: Tensor, pairs: Pairs) -> Tensor:
        earlier, later = (
            part.flatten(0, 1).permute(0, 3, 1, 2)
            for part in pairs.split(patches, patches))
        weights = self.conv.weight.chunk(2, dim=1)
        x = F.conv2d(earlier, weights[0], self.conv.bias, padding=self.padding)
        x = x + F.conv2d(later, weights[1], padding=self.padding)
        return self.activate(self.norm(x))


class PairDepthwiseSeparableConv(DepthwiseSeparableConvModule):
    """Depthwise-separable :class:`PairConv`."""

    def forward(self, patches: Tensor, pairs: Pairs) -> Tensor:
        depthwise, pointwise = self.depthwise_conv, self.pointwise_conv
        if pairs.has_kernels(patches):
            infers = is_folded(depthwise) and not torch.is_grad_enabled()
            x = pair_depthwise_conv(
                patches,
                depthwise.conv.weight,
                depthwise.conv.bias,
                relu=infers)
            if not infers:
                x = depthwise.activate(depthwise.norm(x))
            x = F.linear(
                x.permute(0, 2, 3, 1), pointwise.conv.weight.flatten(1),
                pointwise.conv.bias).permute(0, 3, 1, 2)
            return pointwise.activate(pointwise.norm(x))
        # Splitting the pairs first would copy the frames of a batch.
        frames = patches.flatten(0, 1).permute(0, 3, 1, 2)
        halves = [
            F.conv2d(frames, weight, bias, padding=1, groups=len(weight))
            for weight, bias in zip(
                depthwise.conv.weight.chunk(2), depthwise.conv.bias.chunk(2))
        ]

        def split(earlier: Tensor, later: Tensor) -> Tuple[Tensor, Tensor]:
            earlier, later = (
                half.permute(0, 2, 3, 1).unflatten(0, patches.shape[:2])
                for half in (earlier, later))
            return pairs.split(earlier, later)

        if not is_folded(depthwise):
            # The normalisation is over the channels of both frames.
            x = torch.cat(split(*halves), dim=-1).flatten(0, 1)
            x = depthwise.norm(x.permute(0, 3, 1, 2))
            return pointwise(depthwise.activate(x))
        weights = pointwise.conv.weight.chunk(2, dim=1)
        biases = pointwise.conv.bias, None
        halves = map(depthwise.activate, halves)
        earlier, later = split(*map(F.conv2d, halves, weights, biases))
        x = (earlier + later).flatten(0, 1)
        return pointwise.activate(pointwise.norm(x.permute(0, 3, 1, 2)))


@MODELS.register_module()
class InteractivePointPredictor(BaseModule):
    """Predict the interactive points in both frames of a pair.

    Two stacks of convolutions over the concatenated patch features of both
    frames (paper, section 3.2): the first computes the pair's interaction
    features, the second predicts points from them. Features are max-pooled
    over 2 x 2 positions before and after the last convolution, then over all
    positions; the coordinates of a point are ``limit * tanh(.)``.

    Args:
        embed_dims (int): Channels of one frame's patch features.
        stem (str): First layer, ``'separable'`` (depthwise, then pointwise)
            or ``'dense'``.
        channels (int): Channels of the interaction features.
        hidden_channels (int): Channels of the layers after these features.
        refine (bool): Whether each stack has another convolution, as in the
            released code.
        limit (float): Largest coordinate of a point, in grid units.
        num_points (int): Points in each frame.
        norm_cfg (dict): Config of the normalisation after convolutions.
        pairs (Pairs, optional): Defaults to pairs of neighbouring frames.
    """

    def __init__(self,
                 embed_dims: int,
                 stem: str = 'separable',
                 channels: int = 128,
                 hidden_channels: int = 128,
                 refine: bool = False,
                 limit: float = 0.75,
                 num_points: int = 1,
                 norm_cfg: dict = dict(type='BN'),
                 pairs: Optional[Pairs] = None) -> None:
        super().__init__()
        stems = dict(separable=PairDepthwiseSeparableConv, dense=PairConv)
        if stem not in stems:
            raise ValueError(f"stem must be one of {list(stems)}, got '{stem}'"
                             '; fix `model.backbone.temporal.predictor.stem`')
        for name, size in (('channels', channels), ('hidden_channels',
                                                    hidden_channels)):
            if type(size) is not int or size < 2 or size % 2:
                raise ValueError(
                    f'{name} must be an even number from 2 on, got {size}; '
                    f'fix `model.backbone.temporal.predictor.{name}`')
        if not norm_cfg:
            raise ValueError('a normalisation is needed, got norm_cfg='
                             f'{norm_cfg}; fix '
                             '`model.backbone.temporal.predictor.norm_cfg`')
        self.limit = limit
        self.num_points = num_points
        self.pairs = pairs or Pairs()
        conv_cfg = dict(kernel_size=3, padding=1, bias=True, norm_cfg=norm_cfg)
        with warnings.catch_warnings():
            # The released weights have a bias before each normalisation.
            warnings.filterwarnings('ignore', message='Unnecessary conv bias')
            self.interaction = nn.Sequential(stems[stem](2 * embed_dims,
                                                         channels, **conv_cfg))
            self.reduction = nn.Identity()
            if refine:
                self.interaction.append(
                    ConvModule(channels, channels, **conv_cfg))
                self.reduction = ConvModule(channels, hidden_channels,
                                            **conv_cfg)
            self.prediction = ConvModule(
                hidden_channels if refine else channels, hidden_channels,
                **conv_cfg)
        self.point = nn.Sequential(
            nn.Conv2d(hidden_channels, 64, 1, groups=2), nn.ReLU(),
            nn.Conv2d(64, 4 * num_points, 1, groups=2))
        self.to(memory_format=torch.channels_last)

    def forward(self, patches: Tensor) -> Tuple[Tensor, Tensor]:
        """Predict the points of all pairs of patches ``(B, T, H, W, C)``.

        Returns:
            tuple[Tensor, Tensor]: Interaction features
            ``(B * (T - 1), channels, H, W)`` and points
            ``(B, T - 1, 2, 2)``: for each pair the earlier and the later
            frame, then x and y. With several points per frame,
            ``(B, T - 1, 2, num_points, 2)``.
        """
        batch, frames = patches.shape[:2]
        stem, *refinement = self.interaction
        interaction = stem(patches, self.pairs)
        for layer in refinement:
            interaction = layer(interaction)
        x = self.reduction(interaction)
        if (has_kernels(x) and is_folded(self.prediction)
                and infers_in_half(x)):
            points = pair_points(x, self.prediction.conv, self.point[0],
                                 self.point[2], self.limit)
        else:
            x = halve(self.prediction(halve(x))).amax((2, 3), keepdim=True)
            points = self.limit * self.point(x).tanh()
        shape = (2, 2) if self.num_points == 1 else (2, self.num_points, 2)
        return interaction, points.view(batch, frames - 1, *shape)
