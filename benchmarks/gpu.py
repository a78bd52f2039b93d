"""Compare ILA with a plain ViT and other models on a GPU, in bfloat16.

All models compile at the same time, in separate processes, and are timed one
after the other. Ratios are relative to the plain ViT with the same activation
(SiLU), compiled if the row is.
"""
import argparse
import copy
import re
import statistics
from functools import partial
from typing import Callable, Dict, NamedTuple, Optional, Tuple, Union

import torch
from models import (add_blocks_argument, build_ila, classify_with,
                    describe_model, other_builders)
from processes import run_in_turn
from timing import add_sizes, describe_machine, measure
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from training_step import make_step

DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
PLAIN = 'plain CLIP ViT, SiLU'


class Row(NamedTuple):
    """A row of the table.

    Attributes:
        model (str): A name of :func:`other_builders`, ``'token'`` or
            ``'released'``.
        training (bool): Whether it is a training step or a prediction.
        compile (bool | str): ``compile`` of the recognizer.
        frozen (bool): Whether CLIP's weights are not trained.
        recomputed (bool): Whether training uses activation checkpointing.
    """
    model: str
    training: bool = False
    compile: Union[bool, str] = False
    frozen: bool = False
    recomputed: bool = False

    @property
    def is_ila(self) -> bool:
        return self.model in ('token', 'released')

    @property
    def name(self) -> str:
        parts = [f'ILA {self.model}' if self.is_ila else self.model]
        parts += ['CLIP frozen'] * self.frozen
        parts += ['recomputed'] * self.recomputed
        if self.compile:
            parts.append('compiled' if self.compile is
                         True else f'{self.compile} modules compiled')
        return ', '.join(parts)


ROWS = [
    *(Row(name) for name in (*other_builders(), 'token', 'released')),
    *(Row(name, compile=True) for name in (PLAIN, 'token', 'released')),
    *(Row(name, training=True) for name in (PLAIN, 'token', 'released')),
    *(Row(name, training=True, frozen=True) for name in ('token', 'released')),
    Row('token', training=True, recomputed=True),
    *(Row(name, training=True, compile='temporal')
      for name in ('token', 'released')),
    *(Row(name, training=True, compile=True) for name in (PLAIN, 'token')),
]


class Result(NamedTuple):
    """Measurements of a row.

    Attributes:
        seconds (float): Time for all clips.
        memory (float, optional): MiB per clip.
        macs (int, optional): Multiply-accumulates for all clips.
        difference (float, optional): Difference from eager float32, relative
            to the largest logit.
    """
    seconds: float
    memory: Optional[float] = None
    macs: Optional[int] = None
    difference: Optional[float] = None


def build(row: Row, args: argparse.Namespace, **recognizer) -> nn.Module:
    """Build a row's model, not compiled unless ``recognizer`` says so."""
    torch.manual_seed(0)
    if row.is_ila:
        return build_ila(
            row.model,
            args.frames,
            recognizer,
            args.blocks,
            img_size=args.size,
            freeze_image=row.frozen,
            with_cp=row.recomputed)
    return other_builders(args.frames, args.size, args.blocks)[row.model]()


def in_bf16(function: Callable) -> Callable:
    """Make a function run under autocast in bfloat16."""

    def call(*args):
        with torch.autocast(DEVICE, torch.bfloat16):
            return function(*args)

    return call


def count_macs(model: nn.Module, function: Callable, video: Tensor) -> int:
    """Count the multiply-accumulates of a prediction."""
    counter = FlopCounterMode(display=False)
    model = copy.deepcopy(model).to('meta')
    with counter:
        function(model)(video.to('meta'))
    return counter.get_total_flops() // 2


def prepare_prediction(row: Row, args: argparse.Namespace,
                       video: Tensor) -> Tuple[Callable, int, float]:
    """Make a prediction; count its MACs, and compare with eager float32."""
    model = build(row, args).to(DEVICE).eval()
    function = classify_with if row.is_ila else nn.Module.eval
    macs = count_macs(model, function, video)
    expected = function(model)(video)
    if row.is_ila:
        weights = model.state_dict()
        views = dict(max_testing_views=len(video))
        model = build(
            row, args, bf16=True, compile=row.compile, test_cfg=views)
        model.load_state_dict(weights)
        model.to(DEVICE).eval().switch_to_deploy()
        predict = partial(classify_with(model), video)
    else:
        if row.compile:
            model.compile()
        predict = partial(in_bf16(model), video)
    error = (predict().float() - expected).abs().max() / expected.abs().max()
    return predict, macs, error.item()


def prepare_step(row: Row, args: argparse.Namespace,
                 video: Tensor) -> Tuple[Callable]:
    """Make the forward and backward pass of a training step."""
    if row.is_ila:
        model = build(row, args, bf16=True, compile=row.compile)
    else:
        model = build(row, args)
        if row.compile:
            model.compile()
    model.to(DEVICE).train()
    step = make_step(model, video, None if row.is_ila else in_bf16(model))
    step()
    return step,


def prepare(args: argparse.Namespace, row: Row) -> tuple:
    """Build, compile and run a row once."""
    video = torch.randn(
        args.batch_size, 3, args.frames, args.size, args.size, device=DEVICE)
    if row.training:
        return prepare_step(row, args, video)
    with torch.no_grad():
        return prepare_prediction(row, args, video)


def time_row(args: argparse.Namespace, row: Row, function: Callable,
             *facts) -> Result:
    """Time a prepared row."""
    memory = None
    with torch.set_grad_enabled(row.training):
        function()
        if DEVICE == 'cuda':
            before = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            function()
            memory = torch.cuda.max_memory_allocated() - before
            memory /= 2**20 * args.batch_size
        seconds = measure({row.name: function}, args.rounds)[row.name]
    if DEVICE == 'cuda':
        torch.cuda.empty_cache()
    return Result(statistics.median(seconds), memory, *facts)


def measure_product_rate(size: int) -> float:
    """Measure multiply-accumulates per second of a bfloat16 matmul."""
    a, b = torch.randn(
        2, size, size, device=DEVICE, dtype=torch.bfloat16).unbind(0)
    seconds = measure(dict(product=lambda: a @ b), rounds=10)['product']
    return size**3 / statistics.median(seconds)


def print_rows(found: Dict[Row, Result], training: bool, rate: float,
               args: argparse.Namespace) -> None:
    """Print a table of predictions or of training steps."""
    print(f"\n| {'training step' if training else 'inference'} | plain = 1 | "
          'ms | of the product rate | MiB per clip | differs |\n'
          '|---|---|---|---|---|---|')
    for row in (row for row in ROWS if row.training == training):
        result = found.get(row, 'not finished')
        if isinstance(result, str):
            if row in args.chosen:
                print(f'| {row.name} | {result} | | | | |')
            continue
        base = found.get(Row(PLAIN, training, bool(row.compile)))
        if row.compile not in (False, True):  # Its blocks are not compiled.
            base = found.get(Row(PLAIN, training))
        ratio = ''
        if isinstance(base, Result):
            ratio = f'{result.seconds / base.seconds:.2f}'
        share = ''
        if not training:
            share = f'{result.macs / result.seconds / rate:.0%}'
        memory = f'{result.memory:.0f}' if result.memory else ''
        differs = f'{result.difference:.1e}' if result.difference else ''
        print(f'| {row.name} | {ratio} | {1e3 * result.seconds:.1f} | {share} '
              f'| {memory} | {differs} |')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    add_sizes(parser, batch_size=16, frames=8, size=224, rounds=20)
    add_blocks_argument(parser)
    parser.add_argument(
        '--rows', default='', help='pattern of the names of the rows')
    parser.add_argument(
        '--seconds',
        type=int,
        default=240,
        help='time to wait for compilers; default: %(default)s')
    args = parser.parse_args()
    args.chosen = [row for row in ROWS if re.search(args.rows, row.name)]
    return args


def main() -> None:
    args = parse_args()
    rate = measure_product_rate(8192 if DEVICE == 'cuda' else 256)
    print(
        f'{describe_machine()}\n{describe_model(args.blocks)}, '
        f'{args.batch_size} x {args.frames} x {args.size} x {args.size}, bf16; '
        f'{2 * rate / 1e12:.0f} TFLOP/s in products')
    if DEVICE == 'cuda':
        # Each compiled row has its own process; all others share two.
        parts = [[row] for row in args.chosen if row.compile] + [[
            row for row in args.chosen
            if not row.compile and row.training == training
        ] for training in (False, True)]
        found = run_in_turn([part for part in parts if part],
                            partial(prepare, args), partial(time_row, args),
                            args.seconds)
    else:
        found = {
            row: time_row(args, row, *prepare(args, row))
            for row in args.chosen
        }
    for training in (False, True):
        print_rows(found, training, rate, args)


if __name__ == '__main__':
    main()
