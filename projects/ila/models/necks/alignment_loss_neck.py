from typing import Any, Tuple, Union

from mmengine.model import BaseModule
from torch import Tensor

from mmaction.registry import MODELS
from ..backbones import ILAFeatures


@MODELS.register_module()
class AlignmentLossNeck(BaseModule):
    """Pass the alignment loss of an ``ILABackbone`` on.

    It is for the recognizers of MMAction2, which add up what necks give as
    ``loss_aux``. ``ILARecognizer`` needs no such neck.

    Args:
        align_loss_weight (float): Weight of the sum of alignment losses.
    """

    def __init__(self, align_loss_weight: float = 1.) -> None:
        super().__init__()
        self.align_loss_weight = align_loss_weight

    def forward(self,
                x: Union[Tensor, ILAFeatures],
                data_samples: Any = None) -> Tuple[Tensor, dict]:
        """Split what the backbone gives into the head's input and losses.

        Returns:
            tuple: The tensor of the backbone's ``out_type`` and, in training,
            ``loss_align``.
        """
        if isinstance(x, Tensor):
            return x, dict()
        losses = dict()
        if self.training and x.align_loss is not None:
            losses['loss_align'] = self.align_loss_weight * x.align_loss.sum()
        return x.output, losses
