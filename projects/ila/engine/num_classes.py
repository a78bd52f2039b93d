from typing import Any

from mmaction.utils import get_str_type


def set_num_classes(cfg: Any, num_classes: int) -> None:
    """Let data sets that state no number of classes check labels by one.

    Args:
        cfg (dict): Config of a data loader, or of a data set with others in
            it. It is changed.
        num_classes (int): Number of classes of the model.
    """
    if isinstance(cfg, (list, tuple)):
        for part in cfg:
            set_num_classes(part, num_classes)
    elif isinstance(cfg, dict):
        if get_str_type(cfg.get('type', '')).endswith('ILAVideoDataset'):
            if cfg.get('num_classes') is None:
                cfg['num_classes'] = num_classes
        for key in ('dataset', 'datasets'):
            set_num_classes(cfg.get(key), num_classes)
