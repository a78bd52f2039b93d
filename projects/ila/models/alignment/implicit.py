from typing import Optional, Tuple

import torch
import torch.nn.functional as F
from mmcv.cnn import fuse_conv_bn
from mmengine.model import BaseModule
from torch import Tensor

from mmaction.registry import MODELS
from ...ops import pair_pool, pair_tokens
from .masks import pair_masks
from .pairs import Pairs


class ImplicitAlignment(BaseModule):
    """Align pairs of frames around interactive points.

    Args:
        predictor (dict): Arguments of :class:`InteractivePointPredictor` or,
            with ``type='HeatMapPredictor'``, of :class:`HeatMapPredictor`.
        target (str): See :class:`Pairs`.
        num_points (int): Interactive points in each frame of a pair; see
            :func:`pair_masks`.
        motion_loss (bool): Whether the alignment loss subtracts the mean over
            the frames from the features, so that a still background does not
            draw the points away from motion. An addition of this project.
        radius (float): See :func:`soft_mask`.
        slope (float): See :func:`soft_mask`.
        disturbance (float): See :func:`soft_mask`; used in training only.
    """

    def __init__(self,
                 embed_dims: int,
                 predictor: dict = dict(),
                 target: str = 'neighbour',
                 num_points: int = 1,
                 motion_loss: bool = False,
                 radius: float = 0.25,
                 slope: float = 1.5,
                 disturbance: float = 0.2) -> None:
        super().__init__()
        if not isinstance(num_points, int) or num_points < 1:
            raise ValueError('num_points must be a whole number from 1 on, '
                             f"got '{num_points}'; fix "
                             '`model.backbone.temporal.num_points`')
        if not isinstance(predictor, dict):
            raise ValueError('predictor must be a dict of settings, got '
                             f'{predictor}; fix '
                             '`model.backbone.temporal.predictor`')
        given = {'num_points', 'pairs'} & predictor.keys()
        if given:
            raise ValueError(
                f'remove {sorted(given)} from '
                '`model.backbone.temporal.predictor`; `num_points` and '
                '`target` of `model.backbone.temporal` decide on them')
        self.pairs = Pairs(target)
        self.predictor = MODELS.build({
            'type': 'InteractivePointPredictor',
            **predictor, 'embed_dims': embed_dims,
            'num_points': num_points,
            'pairs': self.pairs
        })
        self.motion_loss = motion_loss
        self.radius = radius
        self.slope = slope
        self.disturbance = disturbance
        self.disturbance_scale = 1.  # Lowered by DisturbanceDecayHook.

    def switch_to_deploy(self) -> None:
        fuse_conv_bn(self.predictor)

    def forward(
            self,
            patches: Tensor,
            disturb: Optional[bool] = None) -> Tuple[Tensor, Tensor, Tensor]:
        """Find interactive points in patches ``(B, T, H, W, C)``.

        Args:
            disturb (bool, optional): Whether to disturb the masks. None
                means in training only.

        Returns:
            tuple: Interaction features and points of the pairs, see
            :class:`InteractivePointPredictor`, and the soft masks of the
            pairs, ``(B, T - 1, 2, H, W)``.
        """
        if disturb is None:
            disturb = self.training
        interaction, points = self.predictor(patches)
        # Half precision resolves a coordinate no better than a thousandth.
        masks = pair_masks(
            points.float(), patches.shape[2:4], self.radius, self.slope,
            self.disturbance * self.disturbance_scale if disturb else 0.)
        return interaction, points, masks.to(patches.dtype)

    def token(self, patches: Tensor) -> Tuple[Tensor, Tensor]:
        """Average the aligned features of frames, for inference.

        Args:
            patches (Tensor): ``(B, T, H, W, C)``.

        Returns:
            tuple[Tensor, Tensor]: Means over a frame's patches and pairs,
            ``(B, T, C)``, and points, see :meth:`forward`.
        """
        if self.pairs.has_kernels(patches):
            _, points = self.predictor(patches)
            token = pair_tokens(patches, points.float(), self.radius,
                                self.slope)
        else:
            _, points, masks = self(patches, disturb=False)
            token = self.pairs.merge(self.pool(patches, masks))
        return token, points

    def pool(self, patches: Tensor, masks: Tensor) -> Tensor:
        """Average the aligned features of every pair over the patches.

        Args:
            patches (Tensor): ``(B, T, H, W, C)``.
            masks (Tensor): ``(B, T - 1, 2, H, W)``.

        Returns:
            Tensor: ``(B, T - 1, 2, C)``.
        """
        if self.pairs.has_kernels(patches):
            return pair_pool(patches, masks)
        weights = masks.flatten(3) / masks[0, 0, 0].numel()
        features = patches.flatten(2, 3)
        pooled = [
            weights[:, :, i, None] @ frames
            for i, frames in enumerate(self.pairs.split(features, features))
        ]
        return torch.cat(pooled, dim=2)

    def loss(self,
             patches: Tensor,
             masks: Tensor,
             pooled: Optional[Tensor] = None) -> Tensor:
        """Compute the alignment loss, the mean of ``1 - cos`` over the pairs.

        Args:
            patches (Tensor): ``(B, T, H, W, C)``.
            masks (Tensor): ``(B, T - 1, 2, H, W)``.
            pooled (Tensor, optional): Result of :meth:`pool`, if known.
        """
        if self.motion_loss:
            pooled = self.pool(patches - patches.mean(1, keepdim=True), masks)
        elif pooled is None:
            pooled = self.pool(patches, masks)
        earlier, later = pooled.float().unbind(2)
        return 1 - F.cosine_similarity(earlier, later, dim=-1).mean()
