from typing import List, Optional, Sequence, Tuple

import torch
from mmengine.model import stack_batch
from torch import Tensor

from mmaction.models import ActionDataPreprocessor
from mmaction.registry import MODELS
from mmaction.utils import SampleList


@MODELS.register_module()
class ILADataPreprocessor(ActionDataPreprocessor):
    """MMAction2's data preprocessor, which also augments training clips.

    Augmentation runs on the device and on uint8 clips, before normalisation.

    Args:
        augments (Sequence[dict]): Configs of ``ClipColorJitter`` and
            ``ClipTorchVision``, in the order in which they are applied.
        **kwargs: Arguments of ``ActionDataPreprocessor``.
    """

    def __init__(self, augments: Sequence[dict] = (), **kwargs) -> None:
        super().__init__(**kwargs)
        self.augments = [MODELS.build(augment) for augment in augments]
        # Copies from pinned memory need not wait for the previous step.
        self._non_blocking = torch.cuda.is_available()

    def preprocess(self,
                   inputs: List[Tensor],
                   data_samples: Optional[SampleList],
                   training: bool = False) -> Tuple[Tensor, SampleList]:
        """Stack, augment, normalise and blend clips.

        Each clip is ``(views, 3, T, H, W)`` or ``(views, 3, H, W)``. A
        ValueError is raised if clips to be augmented are not uint8 and RGB.
        """
        if training and self.augments:
            self._check(inputs)
            batch = stack_batch(inputs)
            for augment in self.augments:
                batch = augment(batch)
            inputs = list(batch)
        return super().preprocess(inputs, data_samples, training)

    def _check(self, inputs: List[Tensor]) -> None:
        if self.to_rgb:
            raise ValueError('`model.data_preprocessor.augments` take RGB; '
                             'remove `to_rgb` and let the pipeline give RGB')
        for clip in inputs:
            if clip.dtype != torch.uint8:
                raise ValueError(
                    '`model.data_preprocessor.augments` take uint8, the '
                    f'pipeline gives {clip.dtype}; remove what changes that '
                    'from it')
