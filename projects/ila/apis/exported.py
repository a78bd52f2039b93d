"""Exported files as recognizers, and their check against the model."""
from typing import Callable, List

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from torch import Tensor

from ..models.heads import ILAHead
from ..models.text import load_class_names
from .deployment import (INT8_PRECISIONS, ClipClassifier, check_statistics,
                         load_exported, random_clips)

# Allowed difference of the logits, relative to the largest.
TOLERANCES = {'float32': 1e-4, **dict.fromkeys(INT8_PRECISIONS, 0.1)}


class ExportedHead(ILAHead):
    """A head that is given the logits and averages them over the views."""

    def init_weights(self) -> None:
        """There are none."""

    def forward(self, feats: Tensor, **kwargs) -> Tensor:
        """Return the logits as they are."""
        return feats


class ExportedRecognizer(BaseModel):
    """An exported file as a recognizer.

    Args:
        run (Callable): From :func:`load_exported`.
        num_classes (int): Number of classes.
        cls_head (dict): Config of the head that was exported.
    """

    def __init__(self, run: Callable[[Tensor], Tensor], num_classes: int,
                 cls_head: dict) -> None:
        super().__init__()
        self.run = run
        settings = {
            key: cls_head[key]
            for key in ('average_clips', 'loss_cls', 'multi_class')
            if key in cls_head
        }
        self.cls_head = ExportedHead(num_classes, in_channels=0, **settings)

    def forward(self, inputs: List[Tensor], data_samples: list,
                mode: str) -> list:
        """Predict videos.

        Args:
            inputs (list[Tensor]): uint8 views of each video,
                ``(M, 3, T, H, W)``.
            data_samples (list[:obj:`ActionDataSample`]): As many.
            mode (str): ``'predict'``.

        Returns:
            list[:obj:`ActionDataSample`]: The samples with predictions.
        """
        logits = torch.cat([self.run(views) for views in inputs])
        return self.cls_head.predict(logits, data_samples)


def check_config(cfg: Config, meta: dict) -> None:
    """Refuse a config whose model predicts otherwise than a file.

    Raises:
        ValueError: Its text head has other classes, or it predicts with the
            statistics of a batch.
    """
    check_statistics(cfg.model)
    source = cfg.model.cls_head.get('class_names')
    if source and load_class_names(source) != meta['class_names']:
        raise ValueError('`model.cls_head.class_names` are not those that '
                         'were exported; export the model again or fix them')


def check_exported(path: str, classifier: ClipClassifier) -> float:
    """Compare a file with the model, on two sizes of batches.

    Returns:
        float: Greatest difference of the logits, relative to the largest.

    Raises:
        ValueError: It is greater than the tolerance.
    """
    run, meta = load_exported(path)
    errors, tolerance = [], TOLERANCES[meta['precision']]
    for batch in (1, 3):
        clips = random_clips(batch, meta)
        expected = classifier(clips)
        difference = (run(clips) - expected).abs().max()
        errors.append(difference / expected.abs().max())
    error = torch.stack(errors).max().item()  # NaN, if one is.
    if not error <= tolerance:
        hint = ''
        if meta['precision'] == 'int8-full':
            hint = '. 8-bit weights need a processor with VNNI; leave out ' \
                '--full-range'
        raise ValueError(
            f"the exported model's logits differ by {error:.1e} of the "
            f'largest, more than {tolerance:g}; nothing was written{hint}')
    return error
