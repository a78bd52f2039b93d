from typing import Optional

from torch import Tensor

from mmaction.models.heads import BaseHead
from mmaction.models.losses import (BCELossWithLogits, CBFocalLoss,
                                    CrossEntropyLoss, HVULoss)


class ILAHead(BaseHead):
    """Base of ILA's heads, whose videos have one label or several.

    Args:
        in_channels (int): Channels of the video feature.
        loss_cls (dict, optional): Config of the loss. Defaults to
            ``BCELossWithLogits`` for several labels, else to
            ``CrossEntropyLoss``.
        multi_class (bool, optional): Whether videos may have several labels.
            Scores are then each class's sigmoid instead of the softmax over
            the classes. Defaults to whether the loss is one of sigmoids.
        average_clips (str, optional): ``'prob'``, ``'score'`` or None, which
            gives the scores of each view; accuracies need one of the others.
        **kwargs: Arguments of MMAction2's ``BaseHead``.

    Raises:
        ValueError: The loss is one of the softmax, with several labels.
    """

    def __init__(self,
                 num_classes: int,
                 in_channels: int,
                 loss_cls: Optional[dict] = None,
                 multi_class: Optional[bool] = None,
                 average_clips: Optional[str] = 'prob',
                 **kwargs) -> None:
        if loss_cls is None:
            loss_cls = dict(type='BCELossWithLogits'
                            if multi_class else 'CrossEntropyLoss')
        super().__init__(
            num_classes,
            in_channels,
            loss_cls=loss_cls,
            average_clips=average_clips,
            **kwargs)
        if multi_class and isinstance(self.loss_cls, CrossEntropyLoss):
            raise ValueError(
                '`model.cls_head.multi_class` does not go with '
                "`loss_cls=dict(type='CrossEntropyLoss')`, which is for one "
                "label per video; use 'BCELossWithLogits'")
        if multi_class is None:
            multi_class = isinstance(self.loss_cls,
                                     (BCELossWithLogits, CBFocalLoss, HVULoss))
        self.multi_class = multi_class

    def logits_to_scores(self, logits: Tensor) -> Tensor:
        """Turn logits ``(..., num_classes)`` into probabilities."""
        return logits.sigmoid() if self.multi_class else logits.softmax(-1)

    def average_clip(self, cls_scores: Tensor, num_segs: int = 1) -> Tensor:
        """Average logits ``(N * num_segs, num_classes)`` of views.

        Returns:
            Tensor: ``(N, num_classes)``, or ``(N, num_segs, num_classes)`` if
            ``average_clips`` is None.
        """
        if self.average_clips != 'prob':
            return super().average_clip(cls_scores, num_segs)
        scores = self.logits_to_scores(cls_scores)
        return scores.unflatten(0, (-1, num_segs)).mean(1)
