"""The part of a recognizer that handles single frames, run separately."""
from typing import List

import torch
from torch import Tensor, nn

from mmaction.structures import ActionDataSample
from ..backbones.ila_features import EncodedFrames
from .head_inputs import as_input


def can_encode_frames(model: nn.Module) -> bool:
    """Whether a recognizer's settings allow :func:`encode_frames`."""
    return not (model.compiled or model.batch_statistics)


def encode_frames(model: nn.Module, images: Tensor) -> EncodedFrames:
    """Run the blocks before the first temporal module.

    Args:
        model (nn.Module): An ``ILARecognizer``.
        images (Tensor): Normalised frames, ``(N, 3, H, W)``.
    """
    backbone = model.backbone
    first = min(backbone.temporal_layers, default=backbone.num_layers)
    with torch.autocast(images.device.type, torch.bfloat16, model.bf16):
        tokens, positions = backbone.image.embed(images)
        for number in range(first):
            tokens = backbone.image.run(number, tokens, positions)
    return EncodedFrames(first, tokens, positions)


def predict_encoded(
        model: nn.Module, views: Tensor, encoded: EncodedFrames,
        data_samples: List[ActionDataSample]) -> List[ActionDataSample]:
    """Predict from encoded frames.

    Args:
        model (nn.Module): An ``ILARecognizer``.
        views (Tensor): Normalised videos, ``(N * M, 3, T, H, W)``.
        encoded (EncodedFrames): Frames of the views, from
            :func:`encode_frames`.
        data_samples (list[ActionDataSample]): Samples of the ``N`` videos.
    """
    _, feats = model._network(views, with_loss=False, encoded=encoded)
    return model.cls_head.predict(as_input(feats), data_samples)
