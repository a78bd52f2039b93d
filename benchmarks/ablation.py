"""Train temporal modules and parts of ILA side by side on generated videos.

A variant is one config with a few changed settings. All variants start from
the same image model, like ILA from CLIP. Each is trained several times on the
same videos, with different training seeds, and tested on held-out videos with
one view. Finished runs are kept, and an interrupted run continues from its
last checkpoint.
"""
import argparse
import os
import shlex
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Dict, List, Sequence

import torch
from image_model import image_weights_setting, train_image_model
from matplotlib.figure import Figure
from mmengine.config import Config
from settings_file import check_settings
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
    """Settings that make a config use the videos of a level."""
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


def train(folder: Path, config: Path, options: Sequence[str],
          made_with: dict) -> None:
    """Train once, in one thread, unless it is already done.

    Args:
        folder (Path): Work directory.
        config (Path): Config of the training.
        options (Sequence[str]): Settings as key=value.
        made_with (dict): Content of the config, and settings of the videos
            and the image model.

    Raises:
        ValueError: The folder holds a run with other settings.
        RuntimeError: The training failed.
    """
    check_settings(folder, dict(made_with, options=options))
    if (folder / 'done').exists():
        return
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
    (folder / 'done').touch()


def load_variant(
    config: Path, options: Sequence[str] = (), needed: Sequence[str] = ()
) -> Config:
    """Load a config with a variant's settings, as in the tools."""
    return load_overridden_config(
        argparse.Namespace(
            config=str(config),
            cfg_options=list(options) or None,
            allow_new_keys=False), *needed)


def measure_speed(variants: Dict[str, Sequence[str]], config: Path,
                  clips: int) -> Dict[str, float]:
    """Measure how many clips per second each variant predicts, by name.

    Args:
        variants (dict): Settings by name.
        config (Path): The config.
        clips (int): Batch size.
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


def draw(results: Dict[str, Dict[str, Sequence[float]]], path: Path) -> None:
    """Draw a panel per level; a dot is a seed, a bar the mean of the seeds.

    Args:
        results (dict[str, dict[str, Sequence[float]]]): For each level and
            variant, the final accuracy of each seed, in percent.
        path (Path): The picture.
    """
    names = [*dict.fromkeys(chain(*results.values()))]
    figure = Figure((2 + 2.6 * len(results), 1 + 0.3 * len(names)),
                    layout='constrained')
    panels = figure.subplots(1, len(results), sharey=True, squeeze=False)[0]
    for axes, (level, values) in zip(panels, results.items()):
        rows = [names.index(name) for name in values]
        axes.barh(
            rows, [*map(statistics.mean, values.values())],
            height=0.7,
            color='lightsteelblue')
        for row, own in zip(rows, values.values()):
            axes.plot(own, [row] * len(own), 'o', color='black', markersize=4)
        axes.set(title=level, xlabel='top-1 (%)', xlim=(0, 100))
        axes.grid(axis='x', alpha=0.4)
        axes.set_axisbelow(True)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].invert_yaxis()
    figure.savefig(path, dpi=100)


def print_table(variants: Dict[str, Sequence[str]], config: Path,
                results: Dict[str, Sequence[float]]) -> None:
    """Print accuracy, cost and speed of the variants as a Markdown table."""
    speeds = measure_speed(variants, config, 8)
    print('| | top-1, mean | lowest | highest | MMACs | Kparams | clips/s |')
    print('|---|---|---|---|---|---|---|')
    for name, options in variants.items():
        cfg = load_variant(config, options)
        model = complexity.build_without_data(cfg.model)
        counts = complexity.count(model, cfg.num_frames, (cfg.crop_size, ) * 2)
        macs, parameters = (sum(part.values()) for part in counts)
        finals = results[name]
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


def make_videos(args: argparse.Namespace, cfg: Config,
                level: int) -> List[str]:
    """Make a level's videos, and settings that make a config use them."""
    size, frames = (cfg.data_settings[key] for key in ('size', 'num_frames'))
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


def compare(args: argparse.Namespace, variants: Dict[str, Sequence[str]],
            image_model: Path, level: int,
            data: Sequence[str]) -> Dict[str, List[float]]:
    """Train and print all variants at a level; return accuracies by seed."""
    folder = image_model.parent / f'level{level}_seed{args.data_seed}'
    common = [
        *data, *image_weights_setting(image_model), *(args.cfg_options or [])
    ]
    made_with = {key: getattr(args, key) for key in ('train', 'val', 'steps')}
    # Python 3.11 cannot parse in several threads (python/cpython#106905).
    made_with['config'] = Config.fromfile(args.config).to_dict()
    # Variants with equal settings share one run, under the first name.
    names = {
        options: name
        for name, options in reversed(variants_of(GROUPS).items())
    }
    folders = {
        options: folder / names[options].replace(',', '').replace(' ', '_')
        for options in variants.values()
    }
    runs = [(folders[options] / str(seed), args.config,
             [*options, *common, f'randomness.seed={seed}'], made_with)
            for seed in args.seeds for options in folders]
    with ThreadPoolExecutor(args.jobs) as pool:
        # If one run fails, runs that have not started are skipped.
        list(pool.map(train, *zip(*runs)))
    results = {
        name: [
            100 *
            [*read_curves(folders[options] / str(seed))[ACCURACY].values()][-1]
            for seed in args.seeds
        ]
        for name, options in variants.items()
    }
    print(f'\nLevel {level}, {args.train} videos, {args.val} held-out ones, '
          f'seeds {args.seeds}\n')
    print_table(variants, args.config, results)
    return results


def main() -> None:
    args = parse_args()
    with exit_on_bad_input():
        variants = variants_of(args.groups, args.only)
    if args.print_commands:
        for name, options in variants.items():
            settings = f' --cfg-options {shlex.join(options)}' * bool(options)
            print(f'# {name}\npython tools/train.py {args.config}{settings}')
        return
    print(describe_machine())
    with exit_on_bad_input():
        cfg = load_variant(args.config, needed=['data_settings'])
        data = {level: make_videos(args, cfg, level) for level in args.levels}
        image_model = args.work_dir / args.config.stem / 'image_model.pth'
        train_image_model(cfg, image_model, args.steps)
        results = {
            f'level {level}': compare(args, variants, image_model, level, own)
            for level, own in data.items()
        }
    picture = image_model.with_name(
        f'{"_".join(args.groups)}_seed{args.data_seed}.png')
    draw(results, picture)
    print(f'\naccuracies: {picture}')


if __name__ == '__main__':
    main()
