from typing import Any, Iterator, List

from mmengine.config import Config


def find_datasets(cfg: Any) -> Iterator[dict]:
    """Find the configs of data sets in the config of a data loader.

    Those that wrap others are included, each before the ones it wraps.
    """
    if not isinstance(cfg, dict):
        return
    for part in (cfg.get('dataset'), *(cfg.get('datasets') or ())):
        if isinstance(part, dict):
            yield part
            yield from find_datasets(part)


def find_dataset(cfg: Config, split: str) -> dict:
    """Get the first data set of a split with a pipeline, ``{}`` without."""
    for dataset in find_datasets(cfg.get(f'{split}_dataloader')):
        if dataset.get('pipeline'):
            return dataset
    return {}


def find_pipeline(cfg: Config, split: str) -> List[dict]:
    """Get the transforms of a split, ``[]`` without any."""
    return find_dataset(cfg, split).get('pipeline', [])
