"""Measure how far the interactive points are from the moving target.

In generated videos, the class depends only on the target, and its position is
known. If a frame has several points, the nearest one counts.
"""
import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from mmengine.dataset import Compose
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from projects.ila.cli import exit_on_bad_input  # noqa: E402
from projects.ila.cli import load_overridden_config  # noqa: E402
from projects.ila.datasets.motion import classes  # noqa: E402
from projects.ila.datasets.motion import render_states  # noqa: E402
from projects.ila.visualization.alignment import to_pixels  # noqa: E402
from projects.ila.visualization.pictures import load_model  # noqa: E402

# Differs from the seeds of the data sets, which are three numbers.
SEED = 10**6 + 1


def distances(points: Tensor, centres: Tensor, period: float) -> Tensor:
    """Get distances from points to targets, which wrap around the edges.

    Args:
        points (Tensor): ``(..., N, 2)``, from 0 to 1 within the input.
        centres (Tensor): Centres of the targets, ``(..., 2)``, likewise.
        period (float): Side of the videos, from which the input is cropped.

    Returns:
        Tensor: Distance of the nearest point, ``(...)``, in sides of the
        input.
    """
    offsets = points - centres[..., None, :]
    offsets -= period * (offsets / period).round()
    return offsets.norm(dim=-1).amin(-1)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file of the model')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action='extend',
        help='settings that override the config')
    parser.set_defaults(allow_new_keys=False)
    parser.add_argument('checkpoint', help='weights of the model')
    parser.add_argument(
        '--level',
        type=int,
        default=1,
        help='level of the videos; default: %(default)s')
    parser.add_argument(
        '--videos',
        type=int,
        default=200,
        help='number of videos; default: %(default)s')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = load_overridden_config(args)
    size, frames = (cfg.data_settings[key] for key in ('size', 'num_frames'))
    # Frames are already decoded, so only transforms of geometry are needed.
    names = [transform.type for transform in cfg.val_pipeline]
    geometry = cfg.val_pipeline[names.index('Resize'):-1]
    period = geometry[0].scale[0] / cfg.crop_size
    transforms = Compose(geometry)
    middles = (np.arange(cfg.num_frames) + 0.5) * frames / cfg.num_frames

    inputs, centres = [], []
    for index in range(args.videos):
        video, states = render_states(index % len(classes(args.level)),
                                      (SEED, index), frames, size, args.level)
        video, states = video[middles.astype(int)], states[middles.astype(int)]
        inputs.append(
            torch.from_numpy(
                transforms(
                    dict(
                        imgs=[*video],
                        img_shape=(size, size),
                        modality='RGB',
                        num_clips=1,
                        clip_len=cfg.num_frames))['imgs']))
        centres.append(torch.from_numpy(states[:, :2]).float())
    # The input is a centre crop.
    centres = 0.5 + (torch.stack(centres) - 0.5) * period

    with exit_on_bad_input(), torch.inference_mode():
        model = load_model(cfg, args.checkpoint, 'cpu')
        videos, _ = model.data_preprocessor.preprocess(inputs, None)
        points = model.backbone(videos.flatten(0, 1)).points
    pairs = model.backbone.alignments[0].pairs
    centres = torch.stack(pairs.split(centres, centres), dim=2)
    patch_size = model.backbone.image.patch_size
    grid = [cfg.crop_size // patch_size] * 2
    points = (to_pixels(points.numpy(), grid, patch_size) +
              0.5) / cfg.crop_size
    # (blocks, videos, pairs, 2, points, 2)
    points = torch.from_numpy(points).view(*points.shape[:4], -1, 2)

    print('| block | to the target | to that of another video |')
    print('|---|---|---|')
    for number, places in enumerate(points, 1):
        own, others = (
            distances(places, targets, period).mean()
            for targets in (centres, centres.roll(1, 0)))
        print(f'| {number} | {own:.3f} | {others:.3f} |')


if __name__ == '__main__':
    main()
