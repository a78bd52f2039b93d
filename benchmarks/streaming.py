"""Compare the time per new frame between streams and whole windows."""
import argparse
import sys
from functools import partial
from typing import Iterator

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from models import add_blocks_argument, build_ila, describe_model
from timing import add_sizes, describe_machine, measure, print_table
from torch import Tensor, nn

from projects.ila.apis.clip_reader import ClipReader
from projects.ila.apis.frame_stream import WindowPredictor, slide
from projects.ila.apis.video_inputs import VideoInput

BASE = 'plain CLIP ViT, windows'
FPS = 25


def make_reader(clip_len: int, size: int) -> ClipReader:
    """Make a reader of one view, as in the validation pipelines."""
    pipeline = [
        dict(type='SafePyAVInit'),
        dict(type='UniformSample', clip_len=clip_len, test_mode=True),
        dict(type='SafePyAVDecode'),
        dict(type='Resize', scale=(-1, size * 8 // 7)),
        dict(type='CenterCrop', crop_size=size),
        dict(type='FormatShape', input_format='NCTHW'),
        dict(type='PackActionInputs')
    ]
    dataset = dict(pipeline=pipeline)
    return ClipReader(Config(dict(test_dataloader=dict(dataset=dataset))))


@torch.no_grad()
def predict_windows(model: nn.Module, reader: ClipReader, frames: np.ndarray,
                    length: int) -> Iterator[Tensor]:
    """Predict each window as a separate video."""
    for start in range(len(frames) - length + 1):
        window = VideoInput('window', frames[start:start + length])
        sample, = reader.read(window, None, None)
        yield model.test_step(pseudo_collate([sample]))[0].pred_score


def predict_stream(model: nn.Module, reader: ClipReader, frames: np.ndarray,
                   length: int) -> Iterator[Tensor]:
    """Predict the same windows, reusing results of earlier windows."""
    predict = WindowPredictor(model, reader)
    for window in slide(frames, length, 1):
        yield predict(*window, FPS).pred_score


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_sizes(parser, frames=8, size=224, rounds=15)
    parser.add_argument(
        '--window-frames',
        type=int,
        default=64,
        help='frames of a window; default: %(default)s')
    add_blocks_argument(parser)
    args = parser.parse_args()
    torch.manual_seed(0)
    # Until each frame of a clip has reached the position of the one before.
    warm_up = -(-args.window_frames // args.frames) + 1
    shape = args.window_frames + warm_up + args.rounds, 480, 640, 3
    frames = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    reader = make_reader(args.frames, args.size)
    late = [*range(args.blocks * 2 // 3, args.blocks)]
    forms = {
        'plain CLIP ViT': dict(temporal=None),
        'ILA token': {},
        f'ILA token in the last {len(late)} blocks': dict(layers=late)
    }
    preprocessor = dict(
        type='mmaction.ActionDataPreprocessor',
        mean=[122.771, 116.746, 104.094],
        std=[68.501, 66.632, 70.323],
        format_shape='NCTHW')
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    scores, functions = {}, {}

    def step(name: str, predictions: Iterator[Tensor]) -> None:
        scores[name] = next(predictions).cpu()

    for form, settings in forms.items():
        model = build_ila(
            'token',
            args.frames,
            dict(data_preprocessor=preprocessor),
            args.blocks,
            img_size=args.size,
            **settings).eval().to(device)
        model.switch_to_deploy()
        for way, predict in (('windows', predict_windows), ('stream',
                                                            predict_stream)):
            name = f'{form}, {way}'
            functions[name] = partial(
                step, name, predict(model, reader, frames, args.window_frames))
    print(
        f'{describe_machine()}\n{describe_model(args.blocks)}, windows of '
        f'{args.window_frames} frames of 480 x 640, clips of {args.frames} x '
        f'{args.size} x {args.size}, {args.rounds} interleaved rounds')
    print_table(measure(functions, args.rounds, warm_up), BASE)
    for form in forms:
        own, other = (
            scores[f'{form}, {way}'] for way in ('stream', 'windows'))
        error = (own - other).abs().max() / other.max()
        if not error < 1e-5:
            sys.exit(f'{form}: the scores differ by {error:.1e}')
        print(f'{form}: the scores differ by {error:.1e} of the largest')


if __name__ == '__main__':
    main()
