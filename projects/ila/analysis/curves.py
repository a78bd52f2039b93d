"""Curves of training logs: reading, choosing and drawing them."""
import json
import math
from pathlib import Path
from typing import Dict, List, Optional

# Without pyplot, Agg is used, which needs no display.
from matplotlib.figure import Figure

# For each key, values by iteration.
Curves = Dict[str, Dict[int, float]]

PANELS = ('losses', 'accuracy', 'learning rate')
STYLES = ('-', '--', ':', '-.', (0, (6, 1)))


def panel_of(key: str) -> str:
    """Name the subplot of a key: one of ``PANELS``, or the key itself."""
    if 'loss' in key:
        return 'losses'
    if 'acc/' in key or key.endswith('_acc'):
        return 'accuracy'
    return 'learning rate' if key.endswith('lr') else key


def read_log(path: Path) -> List[dict]:
    """Read the lines of one log, MMEngine's ``scalars.json``.

    Raises:
        ValueError: A line, other than the last, is not from a log.
    """
    lines = path.read_text('utf-8', errors='replace').rstrip().split('\n')
    records = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if isinstance(record, dict) and {'iter', 'step'} & record.keys():
            records.append(record)
        # The last line is cut short when a run is killed.
        elif number < len(lines):
            raise ValueError(
                f'{path}, line {number} is not a line of a training log: '
                f'{line[:40]!r}. Please give a scalars.json, or delete '
                'that line')
    return records


def add_log(curves: Curves, records: List[dict]) -> None:
    """Add a log to the curves of the run's earlier logs, in place."""
    iterations = [record['iter'] for record in records if 'iter' in record]
    start = min(iterations, default=math.inf)
    # A resumed run continues from a checkpoint: drop values from after it.
    for key, curve in curves.items():
        curves[key] = {x: value for x, value in curve.items() if x < start}

    epoch_ends = {}
    for record in records:
        is_training = 'iter' in record
        if is_training:
            iteration = epoch_ends[record.get('epoch')] = record['iter']
        else:
            # In iteration-based training the step is the iteration already.
            iteration = epoch_ends.get(record['step'], record['step'])
        for key, value in record.items():
            # Training also logs these keys, but as another curve.
            if key in ('time', 'data_time') and not is_training:
                key = f'val/{key}'
            if key not in ('epoch', 'iter', 'step') and isinstance(
                    value, (int, float)):
                curves.setdefault(key, {})[iteration] = value


def read_curves(source: Path) -> Curves:
    """Read the curves of one run.

    Args:
        source (Path): A ``scalars.json``, or a work directory, whose logs are
            joined in chronological order.

    Returns:
        dict: For each key, values by iteration, in order of the iterations.

    Raises:
        ValueError: There is no log, or nothing in it.
    """
    if not source.exists():
        raise ValueError(
            f'{source} not found. Please check the path, which is taken '
            f'from {Path.cwd()}')
    logs = [source] if source.is_file() else sorted(
        source.glob('*/vis_data/scalars.json'))
    if not logs:
        raise ValueError(
            f'{source} has no */vis_data/scalars.json. Please give the '
            'work directory of a training that has logged something')
    curves = {}
    for log in logs:
        add_log(curves, read_log(log))
    curves = {
        key: dict(sorted(curve.items()))
        for key, curve in curves.items() if curve
    }
    if not curves:
        raise ValueError(
            f'{source} has no line of a training log. Please give a run '
            'that has logged something')
    return curves


def label_runs(sources: List[Path]) -> List[str]:
    """Name runs by their work directories, or by path if two are the same."""
    folders = [
        source.parents[2] if source.parent.name == 'vis_data' else source
        for source in map(Path.resolve, sources)
    ]
    labels = [folder.name for folder in folders]
    return labels if len({*labels}) == len(labels) else [*map(str, sources)]


def choose_keys(runs: List[Curves], keys: Optional[List[str]]) -> List[str]:
    """Choose the keys to draw; by default losses, accuracies and rates.

    Raises:
        ValueError: No run has one of the keys.
    """
    known = sorted({key for curves in runs for key in curves})
    keys = keys or [
        key for key in known
        if panel_of(key) in PANELS and not key.endswith('base_lr')
    ]
    unknown = [key for key in keys if key not in known]
    if unknown or not keys:
        what = ', '.join(unknown) or 'loss, accuracy or learning rate'
        raise ValueError(f'No {what} in the logs. Please choose --keys from: '
                         f'{", ".join(known)}')
    return list(dict.fromkeys(keys))


def draw_curves(runs: List[Curves], labels: List[str],
                keys: List[str]) -> Figure:
    """Draw curves, one colour per run, or per key of a single run.

    Args:
        runs (list[dict]): The curves of each run.
        labels (list[str]): Names of the runs.
        keys (list[str]): Keys to draw.
    """
    panels = {panel: [] for panel in PANELS}
    for key in keys:
        panels.setdefault(panel_of(key), []).append(key)
    panels = {panel: keys for panel, keys in panels.items() if keys}
    figure = Figure((10, 3.2 * len(panels)), layout='constrained')
    axes = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
    for axis, (panel, panel_keys) in zip(axes, panels.items()):
        for run, (curves, label) in enumerate(zip(runs, labels)):
            for index, key in enumerate(panel_keys):
                if key not in curves:
                    continue
                axis.plot(
                    *zip(*curves[key].items()),
                    color=f'C{run if len(runs) > 1 else index}',
                    # There are ten colours.
                    linestyle=STYLES[(index + run // 10) % len(STYLES)],
                    # A single value has no line.
                    marker='.' if len(curves[key]) < 50 else None,
                    label=f'{key} ({label})')
        axis.set_ylabel(panel)
        axis.grid(alpha=0.3)
        axis.legend(loc='upper left', bbox_to_anchor=(1, 1), fontsize='small')
    axes[-1].set_xlabel('iteration')
    return figure
