"""Information about the training of a checkpoint."""
import json
import os.path as osp
import re
from pathlib import Path
from typing import Any, Dict

from mmengine.config import Config

from ..engine.hooks.resume_check_hook import parse_config
from ..utils.config_datasets import find_datasets
from ..weights import read_checkpoint
from .curves import read_curves


def _base_name(path: Any) -> str:
    """Name a file or folder without its local path."""
    path = str(path)
    is_local = '://' not in path and (osp.isabs(path) or path[:1] in '.~')
    return osp.basename(path.rstrip('/')) if is_local else path


def _read_record(path: Path, meta: dict) -> dict:
    """Read ``run.json`` of the run that wrote a checkpoint."""
    # A run's name ends with the name of the folder of its logs.
    stamp = re.search(r'\d{8}_\d{6}$', str(meta.get('experiment_name', '')))
    try:
        record = path.parent / stamp[0] / 'run.json'
        return json.loads(record.read_text('utf-8'))
    except (OSError, TypeError, ValueError):  # Copied without its folder.
        return dict()


def _read_accuracy(path: Path, meta: dict) -> Dict[str, float]:
    """Read the accuracies that were logged for a checkpoint."""
    try:
        curves = read_curves(path.parent)
    except (OSError, ValueError):
        return dict()
    # A checkpoint saved after a validation may have the next iteration.
    steps = [meta['iter'], meta['iter'] - 1] if 'iter' in meta else []
    found = dict()
    for key, curve in curves.items():
        for step in filter(curve.__contains__, steps):
            if key.startswith('acc/'):
                found.setdefault(key.removeprefix('acc/'), curve[step])
    return found


def _describe_data(cfg: dict, meta: dict) -> Dict[str, Any]:
    files = (
        dataset['ann_file']
        for dataset in find_datasets(cfg.get('train_dataloader'))
        if 'ann_file' in dataset)
    videos = meta.get('ila_run', dict()).get('number of training videos')
    return {'data': _base_name(next(files, None) or ''), 'videos': videos}


def _describe_settings(cfg: dict, meta: dict) -> Dict[str, Any]:
    wrapper = cfg.get('optim_wrapper') or dict()
    optimizer = dict(wrapper.get('optimizer') or dict())
    kind = optimizer.pop('type', None)
    optimizer = ', '.join(f'{key}={value}' for key, value in optimizer.items())
    loop = cfg.get('train_cfg') or dict()
    batch = (cfg.get('train_dataloader') or dict()).get('batch_size')
    processes = meta.get('ila_run', dict()).get('number of processes')
    model = cfg.get('model') or dict()
    started = cfg.get('load_from') or (model.get('init_cfg')
                                       or dict()).get('checkpoint')
    return {
        'weights at its start': started and _base_name(started),
        'epochs': loop.get('max_epochs'),
        'iterations': loop.get('max_iters'),
        'batch of a process': batch,
        'processes': processes,
        'optimizer': kind and f'{kind} ({optimizer})',
        'epochs at this checkpoint': meta.get('epoch'),
        'seed': meta.get('seed')
    }


def describe_run(path: str, cfg: Config) -> Dict[str, dict]:
    """Describe the training of a checkpoint for its model card.

    Other information is read from the work directory of the checkpoint:
    ``run.json`` and the logs of the run.

    Args:
        path (str): The checkpoint.
        cfg (Config): Config of the training, for a checkpoint without one.

    Returns:
        dict: ``training``, texts by topic; ``accuracy``, the accuracies of the
        validation before the checkpoint was saved. Unknown entries are left
        out.
    """
    checkpoint = read_checkpoint(path)
    meta = checkpoint.get('meta') if isinstance(checkpoint, dict) else None
    if not isinstance(meta, dict):
        meta = dict()
    rows: Dict[str, Any] = dict()
    # Converted weights are from another training.
    own = parse_config(str(meta.get('cfg', ''))) or dict()
    converted = (meta.get('ila') or dict()).get('source')
    if converted:
        rows['converted from'] = converted
    elif own or 'epoch' in meta:
        own = own or cfg.to_dict()
        rows.update(_describe_data(own, meta))
        rows.update(_describe_settings(own, meta))
    record = _read_record(Path(path), meta)
    rows['versions'] = ', '.join(
        f'{name} {version}'
        for name, version in record.get('versions', dict()).items())
    if record.get('commit'):
        changed = ', with changes' if record.get('changed') else ''
        rows['commit'] = record['commit'] + changed
    return dict(
        training={
            name: str(value)
            for name, value in rows.items() if value not in (None, '')
        },
        accuracy=_read_accuracy(Path(path), meta))
