"""Show how time and memory grow with frames, resolution and batch.

On a CPU, run it with ``MALLOC_MMAP_THRESHOLD_=65536``. Otherwise, memory freed
by one measurement stays in the process and is not counted in the next one.
"""
import argparse
import time
from pathlib import Path
from typing import Callable, Dict, Tuple

import matplotlib
import torch
from models import (QUICK_GELU, PlainCLIP, add_blocks_argument, build_ila,
                    classify_with, describe_model)
from timing import add_sizes, describe_machine
from torch import Tensor

matplotlib.use('Agg')
from matplotlib import pyplot as plt  # noqa: E402

AXES = dict(
    frames=(8, 16, 32, 64), size=(112, 224, 336, 448), batch=(1, 2, 4, 8))
LABELS = dict(frames='frames', size='pixels a side', batch='videos')
STYLES = ('s-', 'o--', '^-')


class PeakMemory:
    """Peak memory of a piece of code, above the memory used before it.

    Measured on the GPU if available, otherwise for the process, on Linux.
    """

    def __enter__(self) -> 'PeakMemory':
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
            self.before = torch.cuda.memory_allocated()
        else:
            Path('/proc/self/clear_refs').write_text('5')
            self.before = self._status('VmRSS')
        return self

    def __exit__(self, *args) -> None:
        if torch.cuda.is_available():
            peak = torch.cuda.max_memory_allocated()
        else:
            peak = self._status('VmHWM')
        self.mebibytes = (peak - self.before) / 2**20

    @staticmethod
    def _status(name: str) -> int:
        for line in open('/proc/self/status'):
            if line.startswith(f'{name}:'):
                return 1024 * int(line.split()[1])
        raise RuntimeError(f'/proc/self/status has no {name}')


def build_functions(blocks: int) -> Dict[str, Callable[[Tensor], Tensor]]:
    """Build the models, as functions of a video."""
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    functions = {
        'plain CLIP ViT': PlainCLIP(QUICK_GELU, blocks).to(device).eval()
    }
    for form in ('token', 'released'):
        model = build_ila(form, blocks=blocks).to(device).eval()
        model.backbone.switch_to_deploy()
        functions[f'ILA {form}'] = classify_with(model)
    return functions


def measure_point(function: Callable[[Tensor], Tensor], frames: int, size: int,
                  batch: int, rounds: int) -> Tuple[float, float]:
    """Measure one size of input.

    Returns:
        tuple[float, float]: Minimum of seconds, maximum of mebibytes.
    """
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    video = torch.randn(batch, 3, frames, size, size, device=device)
    seconds, mebibytes = [], []
    for _ in range(rounds):
        with PeakMemory() as memory:
            start = time.perf_counter()
            function(video).cpu()
            seconds.append(time.perf_counter() - start)
        mebibytes.append(memory.mebibytes)
    return min(seconds), max(mebibytes)


def plot(results: dict, path: str) -> None:
    """Draw the measured times and memory.

    Args:
        results (dict): Seconds and mebibytes by model, axis and value.
        path (str): File for the picture.
    """
    figure, plots = plt.subplots(
        2, len(AXES), figsize=(11, 6), layout='constrained')
    for column, axis in enumerate(AXES):
        for row, unit in enumerate(('seconds', 'MiB')):
            ax = plots[row, column]
            names = dict.fromkeys(name for name, *_ in results)
            for number, name in enumerate(names):
                points = [(value, result[row])
                          for (other, own, value), result in results.items()
                          if (other, own) == (name, axis)]
                # Two of the lines overlap.
                ax.plot(
                    *zip(*points),
                    STYLES[number],
                    markersize=9 - 3 * number,
                    label=name)
            ax.set(xlabel=LABELS[axis], xlim=(0, None), ylim=(0, None))
            if not column:
                ax.set_ylabel(unit)
    plots[0, 0].legend()
    figure.savefig(path, dpi=100)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_sizes(parser, rounds=2, size=224)
    parser.add_argument(
        '--largest',
        type=int,
        default=4,
        help='number of values on each axis; default: %(default)s')
    add_blocks_argument(parser)
    parser.add_argument(
        '--out',
        default='scaling.png',
        help='file for the picture; default: %(default)s')
    args = parser.parse_args()
    open(args.out, 'ab').close()  # Fail now rather than at the end.
    base = dict(frames=8, size=args.size, batch=1)
    print(f'{describe_machine()}\n{describe_model(args.blocks)}, inference in '
          'float32, ' + ', '.join(f'{key} {value}'
                                  for key, value in base.items()) +
          f' unless varied, best of {args.rounds}')
    print('| | | value | seconds | MiB |')
    print('|---|---|---|---|---|')
    functions = build_functions(args.blocks)
    results = dict()
    with torch.inference_mode():
        for axis, values in AXES.items():
            for value in values[:args.largest]:
                for name, function in functions.items():
                    seconds, mebibytes = measure_point(
                        function, **{
                            **base, axis: value
                        }, rounds=args.rounds)
                    results[name, axis, value] = seconds, mebibytes
                    print(
                        f'| {name} | {axis} | {value} | {seconds:.2f} | '
                        f'{mebibytes:.0f} |',
                        flush=True)
    plot(results, args.out)


if __name__ == '__main__':
    main()
