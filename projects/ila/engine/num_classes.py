import sys
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner

from mmaction.utils import get_str_type
from ..models.heads import ILAHead
from ..utils import unwrap_model


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


def check_num_classes(cfg: Config, runner: Runner, *splits: str) -> None:
    """Let data sets check labels; exit if they have other classes."""
    head = getattr(unwrap_model(runner.model), 'cls_head', None)
    num_classes = getattr(head, 'num_classes', None)
    for split in splits:
        set_num_classes(
            getattr(runner, f'_{split}_dataloader', None), num_classes)
        dataset = (cfg.get(f'{split}_dataloader') or {}).get('dataset')
        if not isinstance(dataset, dict):
            continue  # It cannot be built.
        if dataset.get('num_classes', num_classes) != num_classes:
            sys.exit(f'`{split}_dataloader.dataset.num_classes` is '
                     f'{dataset.num_classes}, but `model.cls_head` has '
                     f'{num_classes} classes; fix one of them')
        if dataset.get('multi_class') and isinstance(
                head, ILAHead) and not head.multi_class:
            sys.exit(f'`{split}_dataloader.dataset.multi_class` is True, but '
                     '`model.cls_head` is for one label per video; give it '
                     '`multi_class=True`')
