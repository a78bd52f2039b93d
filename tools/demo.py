"""Show ILA's main job on generated videos: train, test, count and draw."""
import argparse
import pickle
import subprocess
import sys
import time
from pathlib import Path
from typing import Sequence

from arguments import ROOT, setting

CONFIG = 'configs/ila_figures.py'
SHUFFLED_CONFIG = 'configs/ila_figures_shuffled.py'
# (label, seed) of the videos in the animation.
ANIMATED = ((5, 0), (9, 1), (6, 2))


def run(*command: str) -> None:
    """Run a command of the README in the repository's root."""
    print('\n$ python ' + ' '.join(command), flush=True)
    subprocess.run([sys.executable, *command], check=True, cwd=ROOT)


def check_dump(path: Path, ann_file: Path,
               num_classes: int) -> Sequence[float]:
    """Check the predictions of ``tools/test.py --dump``.

    Args:
        path (Path): The dump.
        ann_file (Path): Annotation file of the tested videos.
        num_classes (int): Number of classes.

    Returns:
        Sequence[float]: Top-1 and top-5 accuracy.

    Raises:
        SystemExit: The dump is not one probability distribution per video,
            in the order of the annotation file.
    """
    import numpy as np

    from mmaction.evaluation import top_k_accuracy
    from projects.ila.utils import read_lines
    labels = [int(line.split()[-1]) for line in read_lines(ann_file)]
    with open(path, 'rb') as file:
        results = pickle.load(file)
    if [int(result['gt_label']) for result in results] != labels:
        sys.exit(f'{path}: the labels are not those of {ann_file}')
    scores = np.stack([result['pred_score'].numpy() for result in results])
    shape = len(labels), num_classes
    if scores.shape != shape:
        sys.exit(f'{path}: the scores are {scores.shape}, not {shape}; were '
                 'views averaged?')
    if not np.allclose(scores.sum(1), 1, atol=1e-4):
        sys.exit(f'{path}: the scores of a video do not add up to 1')
    return top_k_accuracy(scores, labels, (1, 5))


def draw(checkpoint: Path, path: Path) -> None:
    """Draw a test video's frames, interactive points and masks."""
    from mmaction.apis import init_recognizer
    from mmaction.registry import DATASETS
    from projects.ila.visualization import (DrawingStyle, draw_alignment,
                                            frames_of, run_model, save_figure)
    model = init_recognizer(ROOT / CONFIG, str(checkpoint), device='cpu')
    sample = DATASETS.build(model.cfg.val_dataloader.dataset)[0]
    points = run_model(model, sample)['points'].numpy()
    save_figure(
        path,
        draw_alignment(frames_of(sample), points, DrawingStyle.of(model)))


def animate(checkpoint: Path, path: Path) -> None:
    """Draw the points in videos of another kind than the training videos.

    The model processes clips of every third frame, in its input size: each
    frame is in one of the clips and has its own points.
    """
    import cv2
    import numpy as np
    import torch

    from mmaction.apis import init_recognizer
    from mmaction.structures import ActionDataSample
    from projects.ila.datasets.motion import classes, render_billiards
    from projects.ila.visualization import (DrawingStyle, draw_trail,
                                            run_model, write_animation)
    from projects.ila.visualization.alignment import frame_masks, to_pixels
    model = init_recognizer(ROOT / CONFIG, str(checkpoint), device='cpu')
    level, side = model.cfg.data_settings.level, model.cfg.crop_size
    style = DrawingStyle.of(model)
    grid = (side // style.patch_size, ) * 2
    step, zoom = 3, 4
    videos = []
    for label, seed in ANIMATED:
        frames = render_billiards(label, seed, step * model.cfg.num_frames,
                                  zoom * side)
        small = torch.tensor(
            np.stack([
                cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA)
                for frame in frames
            ]))
        found = [
            run_model(
                model,
                dict(
                    inputs=small[None, start::step].permute(0, 4, 1, 2, 3),
                    data_samples=ActionDataSample())) for start in range(step)
        ]
        points = torch.stack([clip['points'][0] for clip in found])
        places = style.pairs.merge(points).transpose(0, 1).flatten(0, 1)
        masks = [frame_masks(own.numpy(), grid, style) for own in points]
        scores = sum(clip['scores'] for clip in found) / step
        best = scores.argmax().item()
        videos.append(
            draw_trail(
                frames, to_pixels(places.numpy(), grid,
                                  zoom * style.patch_size),
                np.stack(masks, 1).reshape(len(frames), *grid),
                f'{classes(level)[best]}, {scores[best]:.0%}'))
    write_animation(path, videos)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--train',
        type=int,
        default=3000,
        help='number of training videos; default: %(default)s')
    parser.add_argument(
        '--val',
        type=int,
        default=400,
        help='number of held-out videos; default: %(default)s')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action='extend',
        type=setting,
        metavar='KEY=VALUE',
        help='settings for training')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from mmengine.config import Config

    from projects.ila.datasets.motion import classes, make_dataset
    cfg = Config.fromfile(ROOT / CONFIG)
    data, work_dir = ROOT / cfg.data_root, ROOT / cfg.work_dir
    count = len(classes(cfg.data_settings.level))
    start = time.time()
    make_dataset(data, args.train, args.val, **cfg.data_settings)
    options = ['--cfg-options', *args.cfg_options] if args.cfg_options else []
    run('tools/train.py', CONFIG, *options)

    checkpoint = work_dir / (work_dir / 'last_checkpoint').read_text()
    accuracies = []
    for config in (CONFIG, SHUFFLED_CONFIG):
        dump = work_dir / f'{Path(config).stem}.pkl'
        run('tools/test.py', config, str(checkpoint.relative_to(ROOT)),
            '--dump', str(dump.relative_to(ROOT)))
        accuracies.append(check_dump(dump, data / 'val.txt', count))
    run('tools/analysis/get_flops.py', CONFIG)
    picture = work_dir / 'alignment.png'
    draw(checkpoint, picture)
    animation = work_dir / 'alignment.webp'
    animate(checkpoint, animation)

    chance = 100 / count
    print(f'\n{args.val} held-out videos, {count} classes'
          f"\n{'':28}{'top-1':>8}{'top-5':>8}"
          f"\n{'ILA, several views':28}{100 * accuracies[0][0]:7.1f}%"
          f'{100 * accuracies[0][1]:7.1f}%'
          f"\n{'the same, frames shuffled':28}{100 * accuracies[1][0]:7.1f}%"
          f'{100 * accuracies[1][1]:7.1f}%'
          f"\n{'chance':28}{chance:7.1f}%{5 * chance:7.1f}%"
          f'\npicture of points and masks: {picture.relative_to(ROOT)}'
          f'\nthe same, animated: {animation.relative_to(ROOT)}'
          f'\ntime: {(time.time() - start) / 60:.1f} min')


if __name__ == '__main__':
    main()
