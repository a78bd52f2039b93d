"""Tables that benchmarks/gestures.py prints."""
import json
import sys
from typing import Dict, List, Optional

import numpy as np
import torch
import torch.nn.functional as F
from gesture_data import find_motion, load
from gesture_jobs import Settings
from gesture_training import Run, make_model_cfg
from timing import describe_machine
from torch import Tensor

from projects.ila.analysis import complexity

BASELINE = 'ridge, 16 x 16 grey pixels less their median'


def ridge(features: Tensor, labels: Tensor, folds: Dict[str, Tensor],
          penalty: float) -> Tensor:
    """Predict each fold by ridge regression, fitted on the other folds."""
    predicted = torch.zeros_like(labels)
    for test in folds.values():
        own = features[~test].flatten(1)
        mean = own.mean(0)
        own = own - mean
        scale = own.std()
        own = own / scale
        targets = F.one_hot(labels[~test], 10) - 0.1
        kernel = own @ own.t() + penalty * torch.eye(len(own))
        weights = own.t() @ torch.linalg.solve(kernel, targets)
        other = (features[test].flatten(1) - mean) / scale
        predicted[test] = (other @ weights).argmax(1)
    return predicted


def interval(correct: np.ndarray, groups: np.ndarray) -> List[float]:
    """Bootstrap a 95 % interval, resampling clips within each fold."""
    rng = np.random.default_rng(0)
    parts = [correct[groups == group] for group in np.unique(groups)]
    means = [
        np.concatenate([rng.choice(part, len(part)) for part in parts]).mean()
        for _ in range(2000)
    ]
    return np.percentile(means, [2.5, 97.5]).tolist()


def print_row(name: str, correct: np.ndarray, shuffled: Optional[np.ndarray],
              folds: Dict[str, Tensor], groups: np.ndarray, rest: str) -> None:
    """Print a row; with ``correct`` (seeds, clips), the spread over seeds."""
    low, high = interval(correct.mean(0), groups)
    seeds = 100 * correct.mean(1)
    cells = [
        name, f'{seeds.mean():.1f} %',
        f'{seeds.min():.1f} to {seeds.max():.1f}',
        f'{100 * low:.1f} to {100 * high:.1f}'
    ]
    cells += [
        f'{100 * correct[:, test].mean():.1f}' for test in folds.values()
    ]
    cells.append('' if shuffled is None else f'{100 * shuffled.mean():.1f} %')
    print(f"| {' | '.join(cells)} | {rest} |", flush=True)


def print_results(settings: Settings, groups: np.ndarray, runs: List[Run],
                  seeds: List[int]) -> None:
    """Print a row for runs that differ only in seed and fold."""
    labels, folds = settings.data['labels'], settings.data['folds']
    tested = torch.stack(list(folds.values())).any(0)
    own_folds = {fold: test[tested] for fold, test in folds.items()}
    groups = groups[tested]

    def find_right(scores: Tensor) -> np.ndarray:
        return scores.argmax(-1).eq(labels)[:, tested].numpy()

    results = {
        run: json.loads(settings.result(run).read_text())
        for run in runs if settings.result(run).exists()
    }
    first = runs[0]
    name = f'{first.variant}, {first.train_image}'
    if first.clips_per_class:
        name += f', {first.clips_per_class} of each class'
    seeds = [
        seed for seed in seeds if all(
            first._replace(fold=fold, seed=seed) in results for fold in folds)
    ]
    if not seeds:
        print(f'no complete results of: {name}', file=sys.stderr)
        return
    scores, shuffled = torch.zeros(2, len(seeds), len(labels), 10)
    seconds, memory, points = 0, 0, []
    for i, seed in enumerate(seeds):
        for fold, test in folds.items():
            result = results[first._replace(fold=fold, seed=seed)]
            scores[i, test] = torch.tensor(result['scores'])
            shuffled[i, test] = torch.tensor(result['shuffled'])
            seconds += result['seconds']
            memory = max(memory, result['memory'])
            if result.get('points') is not None:
                points += [result['points']] * int(test.sum())
    whole = make_model_cfg(settings.config, first, whole=True)
    whole.backbone.image.pretrained = False
    macs, _ = complexity.count(
        complexity.build_without_data(whole), settings.config.num_frames,
        (settings.config.crop_size, ) * 2)
    macs = sum(macs.values()) / 1e9
    if settings.view_frames:
        views = len(load(settings.view_frames)['frames'])
        name, macs = f'{name}, {views} views', views * macs
    memory = f'{memory:.0f}' if memory else ''
    points = f'{np.mean(points):.2f}' if points else ''
    for title, combine, count in ((name, lambda part: part,
                                   1), (f'{name}, mean of the seeds',
                                        lambda part: part.mean(0, True),
                                        len(seeds))):
        if title == name or count > 1:
            right = (find_right(combine(part)) for part in (scores, shuffled))
            print_row(
                title, *right, own_folds, groups, f'{macs * count:.2f} | '
                f'{seconds * count / len(seeds):.0f} | {memory} | {points}')


def print_table(settings: Settings, groups: np.ndarray, rows: List[List[Run]],
                seeds: List[int]) -> None:
    """Print a row for each list of runs, below the row of the baseline."""
    labels, folds = settings.data['labels'], settings.data['folds']
    tested = torch.stack(list(folds.values())).any(0)
    print(describe_machine())
    print(f"| | top-1 | seeds | 95 % | {' | '.join(folds)} | shuffled | GMACs "
          '| s | MiB | points |\n' + '|---' * (9 + len(folds)) + '|')
    moving = find_motion(settings.config, load(settings.frames)['frames'][0])
    # The best of four penalties, since these are not to be compared.
    correct = max((ridge(moving, labels, folds, penalty).eq(labels)
                   for penalty in (10, 100, 1e3, 1e4)),
                  key=lambda hits: hits[tested].sum()).numpy()
    print_row(BASELINE, correct[None, tested], None, {
        fold: test[tested]
        for fold, test in folds.items()
    }, groups[tested], ' | | | ')
    for row in rows:
        print_results(settings, groups, row, seeds)
