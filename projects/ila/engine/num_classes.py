from typing import Any

from mmaction.utils import get_str_type


def set_num_classes(cfg: Any, num_classes: int) -> None:
    """Give data sets without a number of classes the model's, to check labels.

    ``cfg`` is that of a data loader, or of a data set with others in it. It is
    changed.
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
