from typing import Any, Iterator


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
