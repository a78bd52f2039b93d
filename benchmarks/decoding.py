"""Compare ways to turn a video file into normalised views for a test.

A video of 300 frames becomes 4 clips x 3 crops of 8 frames, as in
``configs/ila_vitb16_k400.py``, with one thread.
"""
import argparse
import sys
import tempfile
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform, Compose
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from timing import add_sizes, describe_machine, measure, print_table
from torch import Tensor

import projects.ila  # noqa: F401
from mmaction.datasets.transforms import DecordDecode
from mmaction.registry import MODELS

init_default_scope('mmaction')
CONFIG = Path(__file__).resolve().parents[1] / 'configs/ila_vitb16_k400.py'
CODECS = dict(libx264='H.264', mpeg4='MPEG-4')
PLAIN = 'MMAction2, decord'


class TorchCodecInit(BaseTransform):
    """Open a video with torchcodec."""

    def transform(self, results: dict) -> dict:
        """Add the ``video_reader`` of ``filename``."""
        from torchcodec.decoders import VideoDecoder
        results['video_reader'] = VideoDecoder(
            results['filename'], dimension_order='NHWC', num_ffmpeg_threads=1)
        results['total_frames'] = len(results['video_reader'])
        return results


class TorchCodecDecode(DecordDecode):
    """Decode with torchcodec."""

    def _decord_load_frames(self, container, frame_inds: np.ndarray) -> list:
        frames = container.get_frames_at(frame_inds.tolist()).data
        return list(frames.numpy())


def write_video(path: Path, codec: str, frames: int, width: int,
                height: int) -> None:
    """Write a video of a camera moving over a textured image, with noise."""
    rng = np.random.default_rng(0)
    scene = sum(
        cv2.resize(
            rng.uniform(0, 80, (cells, cells,
                                3)).astype(np.float32), (2 * width,
                                                         2 * height))
        for cells in (4, 16, 64))
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=30)
        stream.width, stream.height, stream.pix_fmt = width, height, 'yuv420p'
        if codec == 'mpeg4':
            stream.bit_rate = 2_000_000
        for index in range(frames):
            left = int((width - 1) * index / frames)
            top = int((height - 1) * (0.5 + 0.5 * np.sin(index / 20)))
            view = scene[top:top + height, left:left + width]
            view = view + rng.normal(0, 9, view.shape)
            frame = av.VideoFrame.from_ndarray(
                view.clip(0, 255).astype(np.uint8), format='rgb24')
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def build_chains() -> dict:
    """Build the pipelines that are compared, as functions of a path."""
    cfg = Config.fromfile(CONFIG)
    preprocessor = MODELS.build(
        dict(cfg.model.data_preprocessor, blending=None))
    decoders = {
        PLAIN: ('DecordInit', 'DecordDecode'),
        'SafeDecord': ('SafeDecordInit', 'SafeDecordDecode'),
        'SafePyAV': ('SafePyAVInit', 'SafePyAVDecode')
    }
    if find_spec('torchcodec'):
        decoders['torchcodec'] = (TorchCodecInit, TorchCodecDecode)

    def run(pipeline: Compose, path: str) -> Tensor:
        sample = pipeline(dict(filename=path, start_index=0, modality='RGB'))
        return preprocessor(pseudo_collate([sample]))['inputs']

    chains = dict()
    for name, (opener, decoder) in decoders.items():
        steps = dict(SafePyAVInit=opener, SafePyAVDecode=decoder)
        pipeline = [dict(step) for step in cfg.test_pipeline]
        for step in pipeline:
            step['type'] = steps.get(step['type'], step['type'])
        chains[name] = partial(run, Compose(pipeline))
    return chains


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_sizes(parser, frames=300, rounds=7)
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    print(f'{describe_machine()}\n456 x 256, {args.frames} frames, '
          f'{args.rounds} interleaved rounds')
    chains = build_chains()
    for codec, title in CODECS.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, 'video.mp4')
            write_video(path, codec, args.frames, 456, 256)
            seconds = args.frames / 30
            rate = 8 * path.stat().st_size / seconds / 1000
            print(f'\n{title}, {rate:.0f} kbit/s\n')
            functions = {
                name: partial(chain, str(path))
                for name, chain in chains.items()
            }
            expected = functions[PLAIN]()
            for name, function in functions.items():
                # One of 255 levels is a fiftieth of the standard deviation.
                error = (function() - expected).abs().max().item()
                if error > 0.02:
                    sys.exit(f'{name}: the views differ by {error:.1e}')
            print_table(measure(functions, args.rounds), PLAIN)


if __name__ == '__main__':
    main()
