"""Compare running times side by side."""
import platform
import statistics
import subprocess
import time
from argparse import ArgumentParser
from typing import Callable, Dict, List

import torch

# Options that benchmarks share, with different defaults.
SIZES = dict(
    batch_size='clips at once',
    frames='frames of a clip',
    size='height and width in pixels',
    rounds='measurements of each')


def add_sizes(parser: ArgumentParser, **defaults: int) -> None:
    """Add options of :data:`SIZES`, with their defaults."""
    for name, default in defaults.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=int,
            default=default,
            help=f'{SIZES[name]}; default: %(default)s')


def measure(functions: Dict[str, Callable],
            rounds: int = 7,
            warm_up: int = 2) -> Dict[str, List[float]]:
    """Time functions in turn, so that noise affects all of them equally.

    Args:
        functions (dict[str, Callable]): The functions by name.
        rounds (int): Number of timed runs of each.
        warm_up (int): Number of runs before timing.

    Returns:
        dict[str, list[float]]: Seconds of every run.
    """
    synchronize = torch.cuda.synchronize if torch.cuda.is_available(
    ) else lambda: None
    times = {name: [] for name in functions}
    for index in range(warm_up + rounds):
        for name, function in functions.items():
            synchronize()
            start = time.perf_counter()
            function()
            synchronize()
            if index >= warm_up:
                times[name].append(time.perf_counter() - start)
    return times


def print_table(times: Dict[str, List[float]], base: str) -> None:
    """Print ratios to a base, medians and spreads as a Markdown table.

    The ratio is the median of the ratios within the rounds.

    Args:
        times (dict[str, list[float]]): From :func:`measure`.
        base (str): Name of the function to compare with.
    """
    print(f'| | time, {base} = 1 | median | lowest | highest |')
    print('|---|---|---|---|---|')
    for name, values in times.items():
        ratio = statistics.median(value / other
                                  for value, other in zip(values, times[base]))
        low, median, high = (1e3 * f(values)
                             for f in (min, statistics.median, max))
        print(f'| {name} | {ratio:.2f} | {median:.0f} ms | {low:.0f} ms | '
              f'{high:.0f} ms |')


def describe_machine() -> str:
    """Name the hardware and versions on which the results depend."""
    if torch.cuda.is_available():
        device = torch.cuda.get_device_name()
    else:
        lines = subprocess.run(['lscpu'], capture_output=True,
                               text=True).stdout.splitlines()
        names = [
            line.partition(':')[2].strip() for line in lines
            if line.startswith('Model name')
        ]
        device = (f"{names[0] if names else platform.machine()}, "
                  f'{torch.get_num_threads()} threads')
    return (f'{device}; Python {platform.python_version()}, '
            f'torch {torch.__version__}')
