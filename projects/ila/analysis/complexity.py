"""Count of an ILA model's multiply-accumulates (MACs) and parameters."""
from collections import Counter
from typing import Optional, Tuple

import torch
from mmengine.config import ConfigDict
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from ..models.backbones import ILABackbone
from ..models.images import ImageModel
from ..utils import explaining_builds
from ..utils.config_arguments import find_class
from ..weights import is_temporal
from ..weights.released_names import KINETICS_CLASSES, SSV2_CLASSES

# "GFLOPs" per view in the paper, which are GMACs: by number of classes, then
# (arch, image size, frames).
PUBLISHED = {
    KINETICS_CLASSES: {
        ('clip-b/32', 224, 8): 40,
        ('clip-b/16', 224, 16): 295,
        ('clip-l/14', 224, 8): 673,
        ('clip-l/14', 336, 16): 3130,
    },
    SSV2_CLASSES: {
        ('clip-b/16', 224, 16): 438,
        ('clip-l/14', 224, 8): 907,
        ('clip-l/14', 336, 16): 3723,
    },
}
PARTS = ('patch embedding', 'blocks', 'alignment', 'neck', 'head')


def build_on_meta(model_cfg: dict, **changes) -> nn.Module:
    """Build a recognizer on the meta device, without data or computation.

    Args:
        model_cfg (dict): Config of the recognizer.
        **changes: New values of settings that the config has.

    Raises:
        ValueError: The recognizer has no ``ILABackbone``.
    """
    kind = (model_cfg.get('backbone') or {}).get('type')
    found = find_class(kind)
    if not (isinstance(found, type) and issubclass(found, ILABackbone)):
        raise ValueError(f"`model.backbone.type` is '{kind}', not "
                         "'ILABackbone'; take a config of ILA")
    # Blending needs real data.
    settings = {**model_cfg, 'data_preprocessor': None}
    settings.update({key: changes[key] for key in changes if key in settings})
    with torch.device('meta'), explaining_builds():
        return MODELS.build(settings)


def build_without_data(model_cfg: dict) -> nn.Module:
    """Build a recognizer for :func:`count`."""
    # Neither works on the meta device, and neither changes the counts.
    return build_on_meta(model_cfg, bf16=False, compile=False).eval()


def part_of(name: str, image: ImageModel) -> str:
    """Find the part that a parameter or module of a recognizer belongs to.

    Args:
        name (str): Its name within the ``ILARecognizer``.
        image (ImageModel): The recognizer's ``backbone.image``.

    Returns:
        str: One of ``PARTS``. Any temporal module counts as alignment, and
        layers of the image model after its blocks count as neck.
    """
    if is_temporal(name):
        return 'alignment'
    if name.startswith(('neck.', 'cls_head.')):
        return 'neck' if name.startswith('neck.') else 'head'
    prefix = 'backbone.image.'
    if not name.startswith(f'{prefix}model.'):
        return 'patch embedding'
    depth, depths = image.get_layer_depth(f'{name.removeprefix(prefix)}.')
    if depth == 0:
        return 'patch embedding'
    return 'neck' if depth == depths - 1 else 'blocks'


def count(model: nn.Module, frames: int,
          size: Tuple[int, int]) -> Tuple[Counter, Counter]:
    """Count the MACs and parameters of each part for one view.

    All matrix products and convolutions of a prediction are counted, also in
    the attention. A text tower is frozen and does not run for each video, so
    only its parameters count.

    Args:
        model (nn.Module): From :func:`build_without_data`.
        frames (int): Number of frames.
        size (tuple[int, int]): Height and width in pixels.

    Returns:
        tuple[Counter, Counter]: MACs and parameters by part.
    """
    with torch.device('meta'):
        views = torch.empty(1, 1, 3, frames, *size)
        if hasattr(model.cls_head, 'class_names'):
            model.cls_head._text_features = torch.empty(
                model.cls_head.num_classes, model.cls_head.in_channels)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model(views, [ActionDataSample()], mode='predict')

    image = model.backbone.image
    macs, parameters = Counter(), Counter()
    counts = {
        name.partition('.')[2]: sum(flops.values()) // 2
        for name, flops in counter.get_flop_counts().items()
        if name != 'Global'
    }
    for name, value in counts.items():
        macs[part_of(name, image)] += value
        # A module's count includes its children; lists have no count.
        while name:
            name = name.rpartition('.')[0]
            if name in counts:
                macs[part_of(name, image)] -= value
                break
    for name, parameter in model.named_parameters():
        parameters[part_of(name, image)] += parameter.numel()
    return macs, parameters


def published_gmacs(model_cfg: ConfigDict, frames: int,
                    size: Tuple[int, int]) -> Optional[int]:
    """Look up the paper's GMACs of one view; None if it gives none."""
    head = model_cfg.cls_head
    classes = head.get('num_classes')
    if head.get('class_names') == 'kinetics400':
        classes = KINETICS_CLASSES
    height, width = size
    if height != width:
        return None
    arch = str(model_cfg.backbone.get('arch'))
    return PUBLISHED.get(classes, {}).get((arch, height, frames))
