"""Measure the cost of feeding a training with videos, from files to the model.

Three ways are compared, with the pipeline of a config: augmentation in worker
processes, augmentation on the device, and augmentation on the device with
copies from ``tools/data/resize_videos.py``. Without ``--folder``, videos are
generated: 340 x 256 pixels, 10 seconds, H.264 with x264's defaults.
"""
import argparse
import os
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Dict, List

import cv2
import torch
from decoding import write_video
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmengine.runner import Runner, set_random_seed
from timing import add_sizes, describe_machine

import projects.ila  # noqa: F401
from mmaction.registry import MODELS, TRANSFORMS
from projects.ila.datasets.video_resizing import Settings, plan, resize_video

init_default_scope('mmaction')
CONFIG = Path(__file__).resolve().parents[1] / 'configs/ila_vitb16_k400.py'
IN_WORKERS, AS_THEY_ARE, COPIES = ('augmented in workers', 'files as they are',
                                   'copies')
STAGES = dict(
    Init='open',
    Decode='decode',
    Resize='resize, crop, flip',
    Crop='resize, crop, flip',
    Flip='resize, crop, flip',
    RandomApply='augment',
    TorchVisionWrapper='augment')


def augment_in_workers(cfg: Config) -> List[dict]:
    """Move the augmentation of the data preprocessor to the pipeline."""
    steps = []
    for augment in cfg.model.data_preprocessor.augments:
        step = dict(augment, type='TorchVisionWrapper')
        if augment['type'] == 'ClipColorJitter':
            prob = step.pop('p')
            step = dict(
                type='RandomApply',
                transforms=[dict(step, op='ColorJitter')],
                prob=prob)
        steps.append(step)
    return steps


def measure_stages(pipeline: List[dict], files: List[str],
                   clips: int) -> Dict[str, float]:
    """Measure the CPU time of one clip, in ms, stage by stage."""
    transforms = [TRANSFORMS.build(step) for step in pipeline]
    stages = [
        next((STAGES[x] for x in STAGES if step['type'].endswith(x)),
             'sample, format, pack') for step in pipeline
    ]
    set_random_seed(0)
    times = dict.fromkeys(stages, 0.)
    for clip in range(-1, clips):  # The first one is not measured.
        sample = dict(
            filename=files[clip % len(files)],
            label=0,
            start_index=0,
            modality='RGB')
        for stage, transform in zip(stages, transforms):
            start = time.process_time()
            sample = transform(sample)
            if clip >= 0:
                times[stage] += 1e3 * (time.process_time() - start) / clips
    return {**times, 'all': sum(times.values())}


def measure_rate(cfg: Config, pipeline: List[dict], files: List[str],
                 workers: int, batches: int) -> float:
    """Measure the clips per second of the config's data loader."""
    loader = dict(cfg.train_dataloader)
    number = loader['batch_size'] * workers * (batches + 1)
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder, 'list.txt')
        lines.write_text(''.join(f'{files[x % len(files)]} 0\n'
                                 for x in range(number)))
        dataset = dict(
            type='ILAVideoDataset', ann_file=str(lines), pipeline=pipeline)
        loader.update(
            dataset=dataset,
            num_workers=workers,
            pin_memory=torch.cuda.is_available())
        for count, batch in enumerate(Runner.build_dataloader(loader, seed=0)):
            if count == workers - 1:  # All workers have started.
                start, first = time.perf_counter(), count
    clips = (count - first) * loader['batch_size']
    return clips / (time.perf_counter() - start)


def measure_device(cfg: Config, pipeline: List[dict], files: List[str],
                   rounds: int) -> Dict[str, float]:
    """Measure the data preprocessor's time for one clip, in ms."""
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    preprocessor = MODELS.build(
        dict(cfg.model.data_preprocessor, blending=None)).to(device)
    sample = dict(filename=files[0], label=0, start_index=0, modality='RGB')
    for step in pipeline:
        sample = TRANSFORMS.build(step)(sample)
    number = cfg.train_dataloader.batch_size
    batch = pseudo_collate([sample] * number)
    if device == 'cuda':
        batch['inputs'] = [x.pin_memory() for x in batch['inputs']]
    times = dict()
    for training in (False, True):
        for count in range(-1, rounds):
            if count == 0:
                start = time.perf_counter()
            preprocessor(dict(batch), training=training)['inputs'].sum().item()
        seconds = time.perf_counter() - start
        times[training] = 1e3 * seconds / rounds / number
    return {
        f'copy and normalise, {device}': times[False],
        f'the same and augment, {device}': times[True]
    }


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--config',
        default=str(CONFIG),
        help='config file; default: %(default)s')
    parser.add_argument(
        '--folder', help='folder of videos; one clip is read from each video')
    add_sizes(parser, frames=300)
    parser.add_argument(
        '--clips',
        type=int,
        default=40,
        help='number of clips; default: %(default)s')
    parser.add_argument(
        '--batches',
        type=int,
        default=6,
        help='batches per worker; default: %(default)s')
    parser.add_argument(
        '--workers',
        type=int,
        nargs='+',
        default=None,
        help='numbers of worker processes; default: 1, 2, 4, 8, 16 up to the '
        'number of cores')
    parser.add_argument(
        '--model-clips-per-second',
        type=float,
        help='speed of the training, for comparison')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    cfg = Config.fromfile(args.config)
    if args.workers is None:
        cores = len(os.sched_getaffinity(0))
        args.workers = [x for x in (1, 2, 4, 8, 16) if x <= cores]
    with tempfile.TemporaryDirectory() as folder:
        source = args.folder or f'{folder}/videos'
        if not args.folder:
            os.mkdir(source)
            write_video(
                Path(source, 'a.mp4'), 'libx264', args.frames, 340, 256)
        copies = plan(source, f'{folder}/copies')
        copies = dict(islice(copies.items(), args.clips))
        for path, copy in copies.items():
            resize_video(path, copy, Settings())
        sizes = [sum(map(os.path.getsize, x))
                 for x in (copies, copies.values())]  # yapf: disable
        print(f'{describe_machine()}\n{len(copies)} videos, '
              f'{args.clips} clips; the copies have {sizes[1] / sizes[0]:.2f} '
              'of the bytes')
        plain = cfg.train_pipeline
        last = [x['type'] for x in plain].index('FormatShape')
        in_workers = [*plain[:last], *augment_in_workers(cfg), *plain[last:]]
        originals, written = list(copies), list(copies.values())
        ways = {
            IN_WORKERS: (in_workers, originals),
            AS_THEY_ARE: (plain, originals),
            COPIES: (plain, written)
        }
        tables = {
            name: measure_stages(*way, args.clips)
            for name, way in ways.items()
        }
        print(f'\n| ms of one core for a clip | {" | ".join(ways)} |')
        print('|' + '---|' * (1 + len(ways)))
        for stage in tables[IN_WORKERS]:
            row = [f'{x.get(stage, 0):.1f}' for x in tables.values()]
            print(f'| {stage} | {" | ".join(row)} |')
        whole = [x['all'] for x in tables.values()]
        row = [f'{x / whole[0]:.2f}' for x in whole]
        print(f'| {IN_WORKERS} = 1 | {" | ".join(row)} |')

        print('\n| data preprocessor, ms for a clip | |\n|---|---|')
        for name, value in measure_device(cfg, *ways[COPIES], 10).items():
            print(f'| {name} | {value:.2f} |')

        head = [f'{x}, clips/s' for x in ways]
        if args.model_clips_per_second:
            head += [f'{x}, of what the model takes' for x in ways]
        print(f'\n| workers | {" | ".join(head)} |')
        print('|' + '---|' * (1 + len(head)))
        for workers in args.workers:
            rates = [
                measure_rate(cfg, *way, workers, args.batches)
                for way in ways.values()
            ]
            row = [f'{x:.1f}' for x in rates]
            if args.model_clips_per_second:
                row += [
                    f'{100 * x / args.model_clips_per_second:.0f} %'
                    for x in rates
                ]
            print(f'| {workers} | {" | ".join(row)} |')


if __name__ == '__main__':
    main()
