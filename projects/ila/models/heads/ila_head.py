from typing import Dict, Optional, Sequence, Union

import torch
from torch import Tensor

from mmaction.models.heads import BaseHead
from mmaction.models.losses import (BCELossWithLogits, CBFocalLoss,
                                    CrossEntropyLoss, HVULoss)
from mmaction.utils import SampleList


class ILAHead(BaseHead):
    """Base class of ILA's heads, for one or several labels per video.

    Args:
        in_channels (int): Channels of the video feature.
        loss_cls (dict, optional): Config of the loss. Defaults to
            ``BCELossWithLogits`` for several labels, else to
            ``CrossEntropyLoss``.
        multi_class (bool, optional): Whether videos may have several labels.
            Scores are then a sigmoid per class instead of a softmax over the
            classes. Defaults to whether the loss uses sigmoids.
        average_clips (str, optional): ``'prob'``, ``'score'`` or None, which
            returns the scores of each view; accuracies need one of the first
            two.
        label_smooth_eps (float): Label smoothing, in [0, 1). Defaults to 0.
        topk (int | Sequence[int]): The top-k accuracies that are logged.
            Defaults to (1, 5).
        **kwargs: Arguments of MMAction2's ``BaseHead``.

    Raises:
        ValueError: The loss uses a softmax although videos have several
            labels, it needs more than labels, or settings are out of range.
    """

    def __init__(self,
                 num_classes: int,
                 in_channels: int,
                 loss_cls: Optional[dict] = None,
                 multi_class: Optional[bool] = None,
                 average_clips: Optional[str] = 'prob',
                 label_smooth_eps: float = 0.,
                 topk: Union[int, Sequence[int]] = (1, 5),
                 **kwargs) -> None:
        if not 0 <= label_smooth_eps < 1:
            raise ValueError(
                '`model.cls_head.label_smooth_eps` must be from 0 to less than'
                f' 1, got {label_smooth_eps}')
        if loss_cls is None:
            loss_cls = dict(type='BCELossWithLogits'
                            if multi_class else 'CrossEntropyLoss')
        super().__init__(
            num_classes,
            in_channels,
            loss_cls=loss_cls,
            average_clips=average_clips,
            label_smooth_eps=label_smooth_eps,
            topk=topk if isinstance(topk, int) else tuple(topk),
            **kwargs)
        for own, name in (('class_weight', 'class_weight'),
                          ('weights', 'samples_per_cls')):
            weights = getattr(self.loss_cls, own, None)
            if weights is not None and len(weights) != num_classes:
                raise ValueError(
                    f'`model.cls_head.loss_cls.{name}` has {len(weights)} '
                    f'numbers for {num_classes} classes; give it one for each')
        if isinstance(self.loss_cls, HVULoss):
            raise ValueError('HVULoss needs masks of categories, which no '
                             "data set gives; set `model.cls_head.loss_cls` "
                             "to dict(type='BCELossWithLogits')")
        if multi_class and isinstance(self.loss_cls, CrossEntropyLoss):
            raise ValueError(
                '`model.cls_head.multi_class` does not go with '
                "`loss_cls=dict(type='CrossEntropyLoss')`, which is for one "
                "label per video; use 'BCELossWithLogits'")
        if multi_class is None:
            multi_class = isinstance(self.loss_cls,
                                     (BCELossWithLogits, CBFocalLoss))
        self.multi_class = multi_class

    @property
    def takes_several_labels(self) -> bool:
        """bool: Whether the loss accepts several labels per video."""
        return self.multi_class and not isinstance(self.loss_cls, CBFocalLoss)

    def loss_by_feat(self, cls_scores: Tensor,
                     data_samples: SampleList) -> Dict[str, Tensor]:
        """Compute the loss and, for single labels, top-k accuracies.

        Args:
            cls_scores (Tensor): Logits, ``(B, num_classes)``.
            data_samples (list[:obj:`ActionDataSample`]): ``B`` samples with
                labels ``(1,)`` or ``(num_classes,)``.

        Returns:
            dict[str, Tensor]: ``loss_cls``, and accuracies.
        """
        labels = torch.stack([sample.gt_label for sample in data_samples])
        if not self.takes_several_labels or labels.shape != cls_scores.shape:
            return super().loss_by_feat(cls_scores, data_samples)
        # `BaseHead` would squeeze the labels of a single class, and would
        # keep the integer labels that some blendings return.
        labels = labels.to(cls_scores)
        labels = ((1 - self.label_smooth_eps) * labels +
                  self.label_smooth_eps / self.num_classes)
        loss = self.loss_cls(cls_scores, labels)
        return loss if isinstance(loss, dict) else dict(loss_cls=loss)

    def logits_to_scores(self, logits: Tensor) -> Tensor:
        """Turn logits ``(..., num_classes)`` into probabilities."""
        return logits.sigmoid() if self.multi_class else logits.softmax(-1)

    def average_clip(self, cls_scores: Tensor, num_segs: int = 1) -> Tensor:
        """Average views with logits ``(N * num_segs, num_classes)``.

        Returns:
            Tensor: ``(N, num_classes)``, or ``(N, num_segs, num_classes)`` if
            ``average_clips`` is None.
        """
        if self.average_clips != 'prob':
            return super().average_clip(cls_scores, num_segs)
        scores = self.logits_to_scores(cls_scores)
        return scores.unflatten(0, (-1, num_segs)).mean(1)
