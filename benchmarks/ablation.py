"""Train temporal modules and parts of ILA side by side on generated videos.

A variant is one config with a few settings changed. Each starts from the same
image model, as ILA does from CLIP. It is trained several times, with other
seeds of the training and on the same videos, and tested on held-out videos in
one view. Runs that were done before are kept, and one that was interrupted
goes on from its last checkpoint.
"""
import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Dict, List, Sequence

import torch
from image_model import image_weights_setting, train_image_model
from matplotlib import colormaps
from matplotlib.figure import Figure
from mmengine.config import Config
from timing import describe_machine, measure
from variants import GROUPS, variants_of

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from mmaction.registry import MODELS  # noqa: E402
from projects.ila.analysis import complexity  # noqa: E402
from projects.ila.analysis.curves import read_curves  # noqa: E402
from projects.ila.cli import exit_on_bad_input  # noqa: E402
from projects.ila.cli import load_overridden_config  # noqa: E402
from projects.ila.datasets.motion import classes, make_dataset  # noqa: E402

CONFIG = ROOT / 'configs/ila_motion_ablation.py'
ACCURACY = 'acc/top1'


def data_settings(root: Path, level: int) -> List[str]:
    """Settings that lead a config to the videos of a level."""
    number = len(classes(level))
    options = [f'model.cls_head.num_classes={number}']
    for split in ('train', 'val', 'test'):
        name = 'train' if split == 'train' else 'val'
        options += [
            f'{split}_dataloader.dataset.{key}={value}' for key, value in (
                ('ann_file', root / f'{name}.txt'),
                ('data_prefix.video', root / 'videos'),
            )
        ]
    return options


def train(folder: Path, config: Path, options: Sequence[str]) -> None:
    """Train once, in one thread, unless that is done.

    Args:
        folder (Path): Work directory.
        config (Path): Config of the training.
        options (Sequence[str]): Settings as key=value.

    Raises:
        ValueError: The folder holds a run with other settings.
        RuntimeError: The training failed.
    """
    settings, done = folder / 'settings.json', folder / 'done'
    text = json.dumps([config.name, *options])
    if settings.is_file() and settings.read_text() != text:
        raise ValueError(f'{folder} holds a run with other settings; delete '
                         'it, or take another --work-dir')
    if done.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    settings.write_text(text)
    with open(folder / 'output.txt', 'a') as output:
        result = subprocess.run([
            sys.executable, ROOT / 'tools/train.py', config, '--resume',
            '--work-dir', folder, '--cfg-options', *options
        ],
                                stdout=output,
                                stderr=subprocess.STDOUT,
                                env={
                                    **os.environ, 'OMP_NUM_THREADS': '1'
                                })
    if result.returncode:
        raise RuntimeError(f'{folder}: the training failed; look at '
                           'output.txt in it')
    done.touch()


def load_variant(config: Path, options: Sequence[str] = ()) -> Config:
    """Load a config with a variant's settings, as the tools do."""
    return load_overridden_config(
        argparse.Namespace(
            config=str(config),
            cfg_options=list(options) or None,
            allow_new_keys=False))


def measure_speed(variants: Dict[str, Sequence[str]], config: Path,
                  clips: int) -> Dict[str, float]:
    """Measure how many clips per second each variant predicts.

    Args:
        variants (dict): Settings by name.
        config (Path): The config.
        clips (int): Clips at once.

    Returns:
        dict[str, float]: Clips per second by name.
    """
    functions = {}
    for name, options in variants.items():
        cfg = load_variant(config, options)
        model = MODELS.build({**cfg.model, 'data_preprocessor': None}).eval()
        model.backbone.switch_to_deploy()
        views = torch.randn(clips, 1, 3, cfg.num_frames, cfg.crop_size,
                            cfg.crop_size)
        functions[name] = partial(model.extract_feat, views, test_mode=True)
    with torch.inference_mode():
        times = measure(functions, rounds=21)
    return {
        name: clips / statistics.median(values)
        for name, values in times.items()
    }


def draw(curves: Dict[str, List[dict]], path: Path, title: str) -> None:
    """Draw the mean accuracy of each variant, and the spread of its seeds.

    Args:
        curves (dict[str, list[dict]]): Per variant a curve per seed, top-1
            accuracy by iteration.
        path (Path): The picture.
        title (str): What stands above it.
    """
    figure = Figure((8, 5), layout='constrained')
    axes = figure.subplots()
    axes.set_prop_cycle(color=colormaps['tab20'].colors)
    for name, runs in curves.items():
        iterations = [*runs[0]]
        values = torch.tensor([[100 * run[i] for i in iterations]
                               for run in runs])
        line, = axes.plot(iterations, values.mean(0), label=name)
        axes.fill_between(
            iterations,
            *values.aminmax(dim=0),
            color=line.get_color(),
            alpha=0.15)
    axes.set(xlabel='iteration', ylabel='top-1 (%)', title=title)
    figure.legend(loc='outside right upper')
    figure.savefig(path, dpi=100)


def print_table(variants: Dict[str, Sequence[str]], config: Path,
                curves: Dict[str, List[dict]]) -> None:
    """Print accuracy, cost and speed of the variants as a Markdown table."""
    speeds = measure_speed(variants, config, 8)
    print('| | top-1, mean | lowest | highest | MMACs | Kparams | clips/s |')
    print('|---|---|---|---|---|---|---|')
    for name, options in variants.items():
        cfg = load_variant(config, options)
        model = complexity.build_without_data(cfg.model)
        macs, parameters = (
            sum(part.values())
            for part in complexity.count(model, cfg.num_frames, (
                cfg.crop_size, cfg.crop_size)))
        finals = [100 * [*curve.values()][-1] for curve in curves[name]]
        print(
            f'| {name} | {statistics.mean(finals):.1f} % | '
            f'{min(finals):.1f} % | {max(finals):.1f} % | {macs / 1e6:.1f} | '
            f'{parameters / 1e3:.0f} | {speeds[name]:.0f} |')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)

    def add(name: str, default: Any, help: str, **settings) -> None:
        parser.add_argument(
            name,
            default=default,
            help=f'{help}; default: %(default)s',
            **settings)

    add('--config', CONFIG, 'what is changed in parts', type=Path)
    add('--groups', ['modules'], 'of variants', nargs='+', choices=GROUPS)
    parser.add_argument('--only', nargs='+', help='variants of the groups')
    add('--levels', [1], 'of the videos', nargs='+', type=int)
    add('--seeds', [0, 1, 2], 'of the trainings', nargs='+', type=int)
    add('--train', 4000, 'number of training videos', type=int)
    add('--val', 1000, 'number of held-out videos', type=int)
    add('--data-seed', 0, 'of the videos', type=int)
    add('--steps', 1500, 'of the image model', type=int)
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action='extend',
        help='settings of all runs')
    add('--data', Path('data/ablation'), 'folder of the videos', type=Path)
    add('--work-dir',
        Path('work_dirs/ablation'),
        'folder of what is computed',
        type=Path)
    add('--jobs', 2, 'trainings at a time', type=int)
    parser.add_argument(
        '--print-commands',
        action='store_true',
        help="only print one command per variant, for the config's own data")
    return parser.parse_args()


def make_videos(args: argparse.Namespace, level: int) -> List[str]:
    """Make a level's videos, and settings that lead a config to them."""
    size, frames = (
        load_variant(args.config).data_settings[key]
        for key in ('size', 'num_frames'))
    # Two motions last twice as long as one.
    frames *= 2 if level == 3 else 1
    root = args.data / f'level{level}_seed{args.data_seed}'
    make_dataset(
        root,
        args.train,
        args.val,
        args.data_seed,
        frames,
        size,
        args.jobs,
        level=level)
    return data_settings(root, level)


def compare(args: argparse.Namespace, image_model: Path, level: int) -> None:
    """Train and print all that is asked for of a level."""
    folder = image_model.parent / f'level{level}_seed{args.data_seed}'
    common = [
        *make_videos(args, level), *image_weights_setting(image_model),
        *(args.cfg_options or [])
    ]
    variants = variants_of(args.groups, args.only)
    # Equal settings are one run, with the first of their names.
    names = {
        options: name
        for name, options in reversed(variants_of(GROUPS).items())
    }
    folders = {
        options: folder / names[options].replace(',', '').replace(' ', '_')
        for options in variants.values()
    }
    with ThreadPoolExecutor(args.jobs) as pool:
        runs = [
            pool.submit(train, folders[options] / str(seed), args.config,
                        [*options, *common, f'randomness.seed={seed}'])
            for seed in args.seeds for options in folders
        ]
        for run in runs:
            run.result()
    curves = {
        name: [
            read_curves(folders[options] / str(seed))[ACCURACY]
            for seed in args.seeds
        ]
        for name, options in variants.items()
    }
    print(f'\nLevel {level}, {args.train} videos, {args.val} held-out ones, '
          f'seeds {args.seeds}\n')
    print_table(variants, args.config, curves)
    picture = folder / f'{"_".join(args.groups)}.png'
    draw(curves, picture, f'level {level}, seeds {args.seeds}')
    print(f'\ncurves: {picture}')


def main() -> None:
    args = parse_args()
    if args.print_commands:
        for name, options in variants_of(args.groups, args.only).items():
            settings = f' --cfg-options {shlex.join(options)}' * bool(options)
            print(f'# {name}\npython tools/train.py {args.config}{settings}')
        return
    print(describe_machine())
    with exit_on_bad_input():
        image_model = args.work_dir / args.config.stem / 'image_model.pth'
        train_image_model(load_variant(args.config), image_model, args.steps)
        for level in args.levels:
            compare(args, image_model, level)


if __name__ == '__main__':
    main()
