import sys
from typing import Any, Iterator

from mmengine.config import Config
from mmengine.runner import Runner

from mmaction.evaluation import AccMetric
from ..models.heads import ILAHead
from ..utils import unwrap_model
from ..utils.config_arguments import find_class, find_name
from ..utils.config_datasets import find_datasets

# Metrics of `AccMetric` for one label per video, which are its default.
SINGLE_LABEL = 'top_k_accuracy', 'mean_class_accuracy'


def set_num_classes(cfg: Any, num_classes: int) -> None:
    """Set the number of classes of data sets without one, to check labels.

    ``cfg`` is the config of a data loader, which is changed.
    """
    for dataset in find_datasets(cfg):
        if find_name(dataset.get('type', '')).endswith('ILAVideoDataset'):
            if dataset.get('num_classes') is None:
                dataset['num_classes'] = num_classes


def check_num_classes(cfg: Config, runner: Runner, *splits: str) -> None:
    """Let data sets check labels; exit if their number of classes is not the
    head's, or if the head or a metric does not accept their labels."""
    head = getattr(unwrap_model(runner.model), 'cls_head', None)
    num_classes = getattr(head, 'num_classes', None)
    for split in splits:
        set_num_classes(
            getattr(runner, f'_{split}_dataloader', None), num_classes)
        for dataset in find_datasets(cfg.get(f'{split}_dataloader')):
            if dataset.get('num_classes', num_classes) != num_classes:
                sys.exit(f'`{split}_dataloader.dataset.num_classes` is '
                         f'{dataset.num_classes}, but `model.cls_head` has '
                         f'{num_classes} classes; fix one of them')
            if isinstance(head, ILAHead):
                _check_labels(cfg, split, dataset, head)
                _check_metrics(cfg, split, dataset, head)


def _check_labels(cfg: Config, split: str, dataset: dict,
                  head: ILAHead) -> None:
    """Exit if only one of head and data set has several labels per video."""
    if dataset.get('multi_class') and not head.takes_several_labels:
        loss = type(head.loss_cls).__name__
        sys.exit(f'`{split}_dataloader.dataset.multi_class` is True, but '
                 f'`model.cls_head` with {loss} is for one label per video; '
                 'give it `multi_class=True` and BCELossWithLogits, which is '
                 'then the default')
    # Blending turns a label into one number for each class.
    blends = (cfg.model.get('data_preprocessor') or {}).get('blending')
    if (head.takes_several_labels and split == 'train' and not blends
            and find_name(dataset.get('type', '')).endswith('ILAVideoDataset')
            and not dataset.get('multi_class')):
        sys.exit('`model.cls_head` is for several labels per video, but '
                 '`train_dataloader.dataset.multi_class` is not True; set it')


def _list_metrics(evaluator: Any) -> Iterator[dict]:
    """List the configs of an evaluator's metrics."""
    parts = evaluator if isinstance(evaluator, (list, tuple)) else [evaluator]
    for part in parts:
        if isinstance(part, dict) and 'metrics' in part:
            yield from _list_metrics(part['metrics'])
        elif isinstance(part, dict) and 'type' in part:
            yield part


def _check_metrics(cfg: Config, split: str, dataset: dict,
                   head: ILAHead) -> None:
    """Exit if accuracies cannot be computed from a data set's labels, or from
    scores that are not averaged over the views."""
    for evaluator in _list_metrics(cfg.get(f'{split}_evaluator')):
        if find_class(evaluator['type']) is not AccMetric:
            continue
        if head.average_clips is None:
            sys.exit(f'`{split}_evaluator` has AccMetric, which needs one '
                     "score per class; set `model.cls_head.average_clips` to "
                     "'prob', or take another metric")
        metrics = evaluator.get('metric_list', SINGLE_LABEL)
        metrics = [metrics] if isinstance(metrics, str) else metrics
        if dataset.get('multi_class') and any(name in SINGLE_LABEL
                                              for name in metrics):
            sys.exit(f'`{split}_dataloader.dataset.multi_class` is True, but '
                     f'{" and ".join(metrics)} take one label per video; set '
                     f'`{split}_evaluator.metric_list` to '
                     "'mean_average_precision'")
