"""Compare the memory that a training step needs per clip.

Each step runs in a separate process, with two batch sizes. The difference of
their peak memory is the memory of the clips; weights, gradients and libraries
cancel out.
"""
import argparse
import json
import os
import resource
import subprocess
import sys

BATCHES = (1, 3)


def run_step(form: str,
             recipe: str,
             frozen: bool,
             batch: int,
             blocks: int = 12) -> int:
    """Train one step.

    Returns:
        int: Peak memory in bytes, of the GPU if available.
    """
    import torch
    from training_step import build_training_step
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    build_training_step(form, recipe, frozen, batch, device, blocks=blocks)()
    if device == 'cuda':
        return torch.cuda.max_memory_allocated()
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measure(*arguments: str) -> float:
    """Measure mebibytes per clip."""
    # Otherwise freed memory would stay in the process.
    environment = {**os.environ, 'MALLOC_MMAP_THRESHOLD_': '65536'}
    peaks = [
        int(
            subprocess.run([
                sys.executable, __file__, '--step',
                json.dumps([*arguments, batch])
            ],
                           env=environment,
                           check=True,
                           capture_output=True,
                           text=True).stdout.split()[-1]) for batch in BATCHES
    ]
    return (peaks[1] - peaks[0]) / (BATCHES[1] - BATCHES[0]) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--step', type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step:
        print(run_step(*args.step))
        return
    from timing import describe_machine
    from training_step import RECIPES
    print(f'{describe_machine()}\nViT-B/16, 8 x 224 x 224, float32')
    print('| form | CLIP | version | MiB per clip | straightforward = 1 |')
    print('|---|---|---|---|---|')
    plain = measure('plain', '', False)
    print(f'| plain ViT | trained | | {plain:.0f} | |')
    for form in ('token', 'released'):
        for frozen in (False, True):
            base = None
            for recipe in RECIPES:
                value = measure(form, recipe, frozen)
                base = base or value
                print(
                    f"| {form} | {'frozen' if frozen else 'trained'} | "
                    f'{recipe} | {value:.0f} | {value / base:.2f} |',
                    flush=True)


if __name__ == '__main__':
    main()
