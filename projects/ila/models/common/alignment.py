from typing import Optional, Tuple

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmcv.cnn import ConvModule, DepthwiseSeparableConvModule, fuse_conv_bn
from mmengine.model import BaseModule
from torch import Tensor


def soft_mask(points: Tensor,
              size: Tuple[int, int],
              radius: float = 0.25,
              slope: float = 1.5,
              disturbance: float = 0.) -> Tensor:
    """Weight patches by their distance to an interactive point.

    Along each axis the weight is 1 within ``radius`` of the point, then falls
    by ``slope`` per unit of distance and never below 0; a patch's weight is
    the product of both axes (paper, section 3.2). With a ``disturbance`` it
    is the mean over the nine masks whose point is moved by ``-disturbance``,
    0 or ``+disturbance`` along each axis. That mean is separable as well, so
    the nine masks are never built.

    Args:
        points (Tensor): ``(..., 2)``, x and y. -1 and 1 are the centres of
            the outermost patches.
        size (tuple[int, int]): Height and width of the patch grid.
        radius (float): Distance up to which the weight is 1, in grid units.
        slope (float): Fall of the weight per grid unit beyond ``radius``.
        disturbance (float): Displacement of the point, in grid units.

    Returns:
        Tensor: ``(..., H, W)``, in [0, 1].
    """
    offsets = points.new_tensor(
        [-disturbance, 0., disturbance] if disturbance else [0.])

    def axis_weight(centre: Tensor, length: int) -> Tensor:
        grid = torch.linspace(
            -1, 1, length, device=points.device,
            dtype=points.dtype) if length > 1 else points.new_zeros(1)
        distance = (grid - (centre[..., None] + offsets)[..., None]).abs()
        return (1 - slope * (distance - radius)).clamp(0, 1).mean(-2)

    height, width = size
    return (axis_weight(points[..., 1], height)[..., :, None] *
            axis_weight(points[..., 0], width)[..., None, :])


def pair_masks(points: Tensor, *args) -> Tensor:
    """Weight patches by their distance to a frame's interactive points.

    Of several points each patch takes the highest weight, so that points at
    one place count as one, and no patch weighs more than 1.

    Args:
        points (Tensor): ``(B, T - 1, 2, 2)`` or, several per frame,
            ``(B, T - 1, 2, K, 2)``.
        *args: Other arguments of :func:`soft_mask`.

    Returns:
        Tensor: ``(B, T - 1, 2, H, W)``, in [0, 1].
    """
    masks = soft_mask(points, *args)
    return masks.amax(3) if points.dim() == 5 else masks


def anchor_frame(frames: int, target: str) -> int:
    """Get the frame that all others are aligned with."""
    return frames // 2 if target == 'middle' else 0


def pair_frames(earlier: Tensor,
                later: Tensor,
                target: str = 'neighbour') -> Tuple[Tensor, Tensor]:
    """Take the frames of all pairs.

    Args:
        earlier (Tensor): ``(B, T, ...)``, what the frames give to pairs of
            which they are the earlier one.
        later (Tensor): Like ``earlier``, for the later one.
        target (str): See :class:`ImplicitAlignment`.

    Returns:
        tuple[Tensor, Tensor]: Both frames of the pairs, ``(B, T - 1, ...)``.
        Pairs of neighbours are in the order of time, and nothing is copied;
        those with one and the same frame in the order of the other frame.
    """
    if target == 'neighbour':
        return earlier[:, :-1], later[:, 1:]
    anchor = anchor_frame(earlier.shape[1], target)
    cuts = anchor, anchor + 1
    before, anchor_first, _ = earlier.tensor_split(cuts, dim=1)
    _, anchor_last, after = later.tensor_split(cuts, dim=1)
    # Indexing would sum the anchor's gradients in no fixed order.
    return (torch.cat([before, anchor_first.expand_as(after)], dim=1),
            torch.cat([anchor_last.expand_as(before), after], dim=1))


def merge_pairs(pairs: Tensor, target: str = 'neighbour') -> Tensor:
    """Turn values of frame pairs into values of frames.

    A frame takes the mean over the pairs that it belongs to.

    Args:
        pairs (Tensor): ``(B, T - 1, 2, ...)``, as :func:`pair_frames` pairs
            the frames.
        target (str): See :class:`ImplicitAlignment`.

    Returns:
        Tensor: ``(B, T, ...)``.
    """
    if target == 'neighbour':
        return merge_neighbours(pairs)
    anchor = anchor_frame(pairs.shape[1] + 1, target)
    before, after = pairs.tensor_split((anchor, ), dim=1)
    shared = torch.cat([before[:, :, 1], after[:, :, 0]], dim=1)
    return torch.cat(
        [before[:, :, 0],
         shared.mean(1, keepdim=True), after[:, :, 1]], dim=1)


def merge_neighbours(pairs: Tensor) -> Tensor:
    """Turn values of frame pairs into values of frames.

    Every frame but the first and the last belongs to two pairs; it takes the
    mean of both.

    Args:
        pairs (Tensor): ``(B, T - 1, 2, ...)``; entry ``[:, t, 0]`` belongs to
            frame ``t`` and ``[:, t, 1]`` to frame ``t + 1``.

    Returns:
        Tensor: ``(B, T, ...)``.
    """
    earlier, later = pairs.unbind(2)
    return torch.cat(
        [earlier[:, :1], (later[:, :-1] + earlier[:, 1:]) / 2, later[:, -1:]],
        dim=1)


def halve(x: Tensor) -> Tensor:
    """Max-pool ``(N, C, H, W)`` by two; a side of one patch stays."""
    return F.max_pool2d(x, [min(2, side) for side in x.shape[-2:]])


class PairConv(ConvModule):
    """Convolution over the concatenated patch features of both frames.

    Each frame has its own half of the input channels, so that the frames need
    not be concatenated. The input is ``(B, T, H, W, C)``, the output
    ``(B * (T - 1), out_channels, H, W)``.
    """

    def forward(self, patches: Tensor, target: str = 'neighbour') -> Tensor:
        """Convolve all pairs."""
        earlier, later = (
            part.flatten(0, 1).permute(0, 3, 1, 2)
            for part in pair_frames(patches, patches, target))
        weights = self.conv.weight.chunk(2, dim=1)
        x = F.conv2d(earlier, weights[0], self.conv.bias, padding=self.padding)
        x = x + F.conv2d(later, weights[1], padding=self.padding)
        return self.activate(self.norm(x))


class PairDepthwiseSeparableConv(DepthwiseSeparableConvModule):
    """Depthwise-separable :class:`PairConv`."""

    def forward(self, patches: Tensor, target: str = 'neighbour') -> Tensor:
        """Convolve all pairs."""
        depthwise, pointwise = self.depthwise_conv, self.pointwise_conv
        # Taking the pairs apart first would copy the frames of a batch.
        frames = patches.flatten(0, 1).permute(0, 3, 1, 2)
        halves = [
            F.conv2d(frames, weight, bias, padding=1, groups=len(weight))
            for weight, bias in zip(
                depthwise.conv.weight.chunk(2), depthwise.conv.bias.chunk(2))
        ]

        def pairs(earlier: Tensor, later: Tensor) -> Tuple[Tensor, Tensor]:
            earlier, later = (
                half.permute(0, 2, 3, 1).unflatten(0, patches.shape[:2])
                for half in (earlier, later))
            return pair_frames(earlier, later, target)

        if not isinstance(depthwise.norm, nn.Identity):
            # The normalisation is over the channels of both.
            x = torch.cat(pairs(*halves), dim=-1).flatten(0, 1)
            x = depthwise.norm(x.permute(0, 3, 1, 2))
            return pointwise(depthwise.activate(x))
        weights = pointwise.conv.weight.chunk(2, dim=1)
        biases = pointwise.conv.bias, None
        halves = map(depthwise.activate, halves)
        earlier, later = pairs(*map(F.conv2d, halves, weights, biases))
        x = (earlier + later).flatten(0, 1)
        return pointwise.activate(pointwise.norm(x.permute(0, 3, 1, 2)))


class InteractivePointPredictor(BaseModule):
    """Predict the interactive points in both frames of a pair.

    Two stacks of light convolutions over the concatenated patch features of
    both frames (paper, section 3.2): the first gives the pair's interaction
    features, the second pools them into two numbers for each point,
    ``limit * tanh(.)``. All pooling takes maxima: over 2 x 2 positions after
    either stack, then over all that are left.

    Args:
        embed_dims (int): Channels of one frame's patch features.
        stem (str): First layer, ``'separable'`` (depthwise, then pointwise)
            or ``'dense'``.
        channels (int): Channels of the interaction features. Defaults to 128.
        hidden_channels (int): Channels of the layers that follow them.
            Defaults to 128.
        refine (bool): Whether two more convolutions, one in each stack,
            work at full resolution, as in the released code.
            Defaults to False.
        limit (float): Largest coordinate of a point, in grid units.
        num_points (int): Points in each frame. Defaults to 1.
        norm_cfg (dict): Config of the normalisation layers.
        init_cfg (dict, optional): Initialization config.
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
                 init_cfg: Optional[dict] = None) -> None:
        super().__init__(init_cfg)
        stems = dict(separable=PairDepthwiseSeparableConv, dense=PairConv)
        if stem not in stems:
            raise ValueError(f"stem must be one of {list(stems)}, got '{stem}'"
                             '; mend `alignment.predictor.stem`')
        self.limit = limit
        self.num_points = num_points
        # The released weights keep a bias before each normalisation.
        conv_cfg = dict(kernel_size=3, padding=1, bias=True, norm_cfg=norm_cfg)
        self.interaction = nn.Sequential(stems[stem](2 * embed_dims, channels,
                                                     **conv_cfg))
        self.reduction = nn.Identity()
        if refine:
            self.interaction.append(ConvModule(channels, channels, **conv_cfg))
            self.reduction = ConvModule(channels, hidden_channels, **conv_cfg)
        self.prediction = ConvModule(hidden_channels if refine else channels,
                                     hidden_channels, **conv_cfg)
        self.point = nn.Sequential(
            nn.Conv2d(hidden_channels, 64, 1, groups=2), nn.ReLU(),
            nn.Conv2d(64, 4 * num_points, 1, groups=2))
        # As the patch features are.
        self.to(memory_format=torch.channels_last)

    def forward(self,
                patches: Tensor,
                target: str = 'neighbour') -> Tuple[Tensor, Tensor]:
        """Predict the points of all pairs.

        Args:
            patches (Tensor): Patch features, ``(B, T, H, W, C)``.
            target (str): See :class:`ImplicitAlignment`.

        Returns:
            tuple[Tensor, Tensor]: Interaction features
            ``(B * (T - 1), channels, H, W)`` and points
            ``(B, T - 1, 2, 2)``: per pair the earlier and the later frame,
            each x and y. Several points per frame are
            ``(B, T - 1, 2, num_points, 2)``.
        """
        batch, frames = patches.shape[:2]
        stem, *refinement = self.interaction
        interaction = stem(patches, target)
        for layer in refinement:
            interaction = layer(interaction)
        x = halve(self.reduction(interaction))
        x = halve(self.prediction(x)).amax((2, 3), keepdim=True)
        points = self.limit * self.point(x).tanh()
        shape = (2, 2) if self.num_points == 1 else (2, self.num_points, 2)
        return interaction, points.view(batch, frames - 1, *shape)


class ImplicitAlignment(BaseModule):
    """Align pairs of frames around interactive points.

    Args:
        embed_dims (int): Channels of the patch features.
        predictor (dict): Arguments of :class:`InteractivePointPredictor`.
        target (str): What each frame is aligned with (paper, ablations):
            ``'neighbour'``, the frames before and behind it, or the
            ``'first'`` or ``'middle'`` frame of the video. That frame, for
            ``'middle'`` number ``T // 2`` from 0 on, is then in all pairs.
            Defaults to ``'neighbour'``.
        num_points (int): Interactive points in each frame of a pair; see
            :func:`pair_masks`. Defaults to 1.
        difference (bool): Whether class tokens get the difference of a pair's
            aligned features as well, through a linear layer that is zero at
            first. Their mean, which is all that the paper takes of them, is
            the same in either order; the difference changes its sign. It is
            an addition of this project. Defaults to False.
        motion_loss (bool): Whether the alignment loss leaves out what stays
            in place: it compares features less their mean over the frames of
            the video. What two frames share most is otherwise a still
            background, which draws the points away from what moves. It is an
            addition of this project and changes the training only.
            Defaults to False.
        radius (float): See :func:`soft_mask`. Defaults to 0.25.
        slope (float): See :func:`soft_mask`. Defaults to 1.5.
        disturbance (float): See :func:`soft_mask`; used in training.
            Defaults to 0.2.
        init_cfg (dict, optional): Initialization config.
    """

    def __init__(self,
                 embed_dims: int,
                 predictor: dict = dict(),
                 target: str = 'neighbour',
                 num_points: int = 1,
                 difference: bool = False,
                 motion_loss: bool = False,
                 radius: float = 0.25,
                 slope: float = 1.5,
                 disturbance: float = 0.2,
                 init_cfg: Optional[dict] = None) -> None:
        super().__init__(init_cfg)
        targets = ['neighbour', 'first', 'middle']
        if target not in targets:
            raise ValueError(f"target must be one of {targets}, got '{target}'"
                             '; mend `model.backbone.alignment.target`')
        if not isinstance(num_points, int) or num_points < 1:
            raise ValueError('num_points must be a whole number from 1 on, '
                             f"got '{num_points}'; mend "
                             '`model.backbone.alignment.num_points`')
        self.predictor = InteractivePointPredictor(
            embed_dims, num_points=num_points, **predictor)
        self.difference_fc = None
        if difference:
            self.difference_fc = nn.Linear(embed_dims, embed_dims, bias=False)
        self.target = target
        self.motion_loss = motion_loss
        self.radius = radius
        self.slope = slope
        self.disturbance = disturbance
        # Lowered in the course of training by DisturbanceDecayHook.
        self.disturbance_scale = 1.

    def init_weights(self) -> None:
        """Initialise; the difference starts without effect."""
        super().init_weights()
        if self.difference_fc is not None:
            nn.init.zeros_(self.difference_fc.weight)

    def switch_to_deploy(self) -> None:
        """Fold the normalisations into the convolutions, for inference."""
        fuse_conv_bn(self.predictor)

    def align(self,
              patches: Tensor,
              disturb: Optional[bool] = None) -> Tuple[Tensor, Tensor, Tensor]:
        """Find the interactive points and the masks around them.

        Args:
            patches (Tensor): Patch features, ``(B, T, H, W, C)``.
            disturb (bool, optional): Whether to disturb the masks. None
                means in training only.

        Returns:
            tuple[Tensor, Tensor, Tensor]: Interaction features and points of
            the pairs, see :class:`InteractivePointPredictor`, and their soft
            masks, ``(B, T - 1, 2, H, W)``.
        """
        if disturb is None:
            disturb = self.training
        interaction, points = self.predictor(patches, self.target)
        # Half precision resolves a coordinate no better than a thousandth.
        masks = pair_masks(
            points.float(), patches.shape[2:4], self.radius, self.slope,
            self.disturbance * self.disturbance_scale if disturb else 0.)
        return interaction, points, masks.to(patches.dtype)

    def pool(self, patches: Tensor, masks: Tensor) -> Tensor:
        """Average the aligned features of every pair over the patches.

        Args:
            patches (Tensor): ``(B, T, H, W, C)``.
            masks (Tensor): ``(B, T - 1, 2, H, W)``.

        Returns:
            Tensor: ``(B, T - 1, 2, C)``.
        """
        weights = masks.flatten(3) / masks[0, 0, 0].numel()
        features = patches.flatten(2, 3)
        pooled = [
            weights[:, :, i, None] @ frames for i, frames in enumerate(
                pair_frames(features, features, self.target))
        ]
        return torch.cat(pooled, dim=2)

    def loss(self,
             patches: Tensor,
             masks: Tensor,
             pooled: Optional[Tensor] = None) -> Tensor:
        """Cosine loss that pulls the aligned features of a pair together.

        Args:
            patches (Tensor): ``(B, T, H, W, C)``.
            masks (Tensor): ``(B, T - 1, 2, H, W)``.
            pooled (Tensor, optional): What :meth:`pool` gives of these, if
                that is known.

        Returns:
            Tensor: Scalar, ``1 - cos`` averaged over the pairs.
        """
        if self.motion_loss:
            pooled = self.pool(patches - patches.mean(1, keepdim=True), masks)
        elif pooled is None:
            pooled = self.pool(patches, masks)
        earlier, later = pooled.float().unbind(2)
        return 1 - F.cosine_similarity(earlier, later, dim=-1).mean()

    def merge_differences(self, pooled: Tensor) -> Optional[Tensor]:
        """Turn pairs' aligned features into what class tokens get of them.

        Args:
            pooled (Tensor): ``(B, T - 1, 2, C)``, from :meth:`pool`.

        Returns:
            Tensor | None: ``(B, T, C)``, later minus earlier frame, the mean
            over the pairs of a frame; None without ``difference``.
        """
        if self.difference_fc is None:
            return None
        differences = (pooled[:, :, 1] - pooled[:, :, 0])[:, :, None]
        return self.difference_fc(
            merge_pairs(differences.expand_as(pooled), self.target))

    def forward(
        self,
        patches: Tensor,
        disturb: Optional[bool] = None,
        with_loss: bool = True
    ) -> Tuple[Tensor, Optional[Tensor], Tensor, Optional[Tensor]]:
        """Align the frames and pool them (paper, section 3.3).

        Args:
            patches (Tensor): Patch features, ``(B, T, H, W, C)``.
            disturb (bool, optional): See :meth:`align`.
            with_loss (bool): Whether to compute the alignment loss.

        Returns:
            tuple: Mutual-information tokens ``(B, T, C)``, what is added to
            the class tokens, see :meth:`merge_differences`, points, see
            :class:`InteractivePointPredictor`, and the loss (scalar or None).
        """
        _, points, masks = self.align(patches, disturb)
        pooled = self.pool(patches, masks)
        loss = self.loss(patches, masks, pooled) if with_loss else None
        return (merge_pairs(pooled, self.target),
                self.merge_differences(pooled), points, loss)


class ReleasedAlignment(ImplicitAlignment):
    """The alignment of the authors' released code.

    The predictor's interaction features become a second result: a temporal
    convolution over the frames and a linear layer bring them to the block's
    width.

    Args:
        embed_dims (int): Channels of the patch features.
        predictor (dict): Arguments of :class:`InteractivePointPredictor`,
            whose ``channels``, half of them for each frame of a pair, are 256
            and whose ``refine`` is True unless given here.
        **kwargs: Arguments of :class:`ImplicitAlignment` but ``difference``.
    """

    predictor_cfg = dict(channels=256, refine=True)

    def __init__(self, embed_dims: int, predictor: dict = dict(),
                 **kwargs) -> None:
        predictor = {**self.predictor_cfg, **predictor}
        super().__init__(embed_dims, predictor=predictor, **kwargs)
        if self.difference_fc is not None:
            raise ValueError("the form 'released' has no `difference`; leave "
                             '`model.backbone.alignment.difference` out, or '
                             "take `model.backbone.form='token'`")
        channels = predictor['channels'] // 2
        # Over frames and patches, of which it mixes the frames only.
        self.temporal_conv = nn.Conv2d(
            channels, channels, (3, 1), padding=(1, 0))
        self.temporal_conv.to(memory_format=torch.channels_last)
        self.temporal_fc = nn.Linear(channels, embed_dims)

    def forward(
        self,
        patches: Tensor,
        disturb: Optional[bool] = None,
        with_loss: bool = True
    ) -> Tuple[Tensor, Tensor, Tensor, Optional[Tensor]]:
        """Align the frames.

        Args:
            patches (Tensor): Patch features, ``(B, T, H, W, C)``.
            disturb (bool, optional): See :meth:`ImplicitAlignment.align`.
            with_loss (bool): Whether to compute the alignment loss.

        Returns:
            tuple: Aligned and temporal features, both ``(B, T, H, W, C)``,
            points, see :class:`InteractivePointPredictor`, and the loss
            (scalar or None).
        """
        interaction, points, masks = self.align(patches, disturb)
        aligned = patches * merge_pairs(masks, self.target)[..., None]
        # Half of the channels belongs to each frame of the pair.
        pairs = interaction.permute(0, 2, 3, 1).unflatten(-1, (2, -1))
        pairs = pairs.unflatten(0, points.shape[:2]).movedim(-2, 2)
        frames = merge_pairs(pairs, self.target).flatten(2, 3)
        maps = self.temporal_conv(frames.permute(0, 3, 1, 2))
        temporal = self.temporal_fc(maps.permute(0, 2, 3, 1))
        temporal = temporal.unflatten(2, patches.shape[2:4])
        loss = self.loss(patches, masks) if with_loss else None
        return aligned, temporal, points, loss
