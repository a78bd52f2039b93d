from typing import Any, Tuple, Union

from mmengine.model import BaseModule
from torch import Tensor

from mmaction.registry import MODELS
from ..backbones import ILAFeatures


@MODELS.register_module()
class AlignmentLossNeck(BaseModule):
    """Pass on the alignment loss of an ``ILABackbone``.

    It is for MMAction2's own recognizers, which add the losses that a neck
    returns, as ``loss_aux``. ``ILARecognizer`` does not need it.

    Args:
        align_loss_weight (float): Weight of the sum of alignment losses.
    """

    def __init__(self, align_loss_weight: float = 1.) -> None:
        super().__init__()
        self.align_loss_weight = align_loss_weight

    def forward(self,
                x: Union[Tensor, ILAFeatures],
                data_samples: Any = None) -> Tuple[Tensor, dict]:
        """Split the backbone's output into the head's input and losses.

        Returns:
            tuple: The tensor of the backbone's ``out_type``, and a dict with
            ``loss_align`` in training.
        """
        if isinstance(x, Tensor):
            return x, dict()
        losses = dict()
        if self.training and x.align_loss is not None:
            losses['loss_align'] = self.align_loss_weight * x.align_loss.sum()
        return x.output, losses
