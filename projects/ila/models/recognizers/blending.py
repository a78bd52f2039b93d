from copy import deepcopy
from typing import Any

from mmaction.registry import MODELS


def build_blending(cfg: dict, num_classes: int) -> Any:
    """Build one of MMAction2's batch blendings, such as ``MixupBlending``.

    Args:
        cfg (dict): Config of the blending, whose ``num_classes`` is replaced.
        num_classes (int): Number of classes of the head.
    """
    cfg = deepcopy(cfg)
    parts = cfg.get('augments', cfg)
    for part in parts if isinstance(parts, (list, tuple)) else [parts]:
        part['num_classes'] = num_classes
    return MODELS.build(cfg)
