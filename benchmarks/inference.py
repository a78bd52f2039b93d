"""Compare the time of one prediction: ILA, a plain ViT and other models."""
import argparse
import sys
from functools import partial
from typing import Callable, Dict

import torch
from models import (add_blocks_argument, build_ila, classify_with,
                    describe_model, make_straightforward, other_builders)
from timing import add_sizes, describe_machine, measure, print_table
from torch import Tensor

BASE = 'plain CLIP ViT'


def check_equal(name: str, own: Tensor, other: Tensor,
                tolerance: float) -> None:
    """Stop if compared versions of ILA give different results."""
    error = (own - other).abs().max() / other.abs().max()
    if not error < tolerance:
        sys.exit(f'{name}: the logits differ by {error:.1e} of the largest')
    print(f'{name}: the logits differ by {error:.1e} of the largest')


def build_functions(frames: int, video: Tensor, blocks: int,
                    compiled: bool) -> Dict[str, Callable]:
    """Build the functions to compare, and check that ILA's versions agree."""
    functions = {
        name: partial(build().eval().to(video.device), video)
        for name, build in other_builders(frames, video.shape[-1],
                                          blocks).items()
    }
    versions = {'': {}, ', bf16': dict(bf16=True)}
    if compiled:
        versions[', compiled'] = dict(compile=True)
        versions[', bf16, compiled'] = dict(bf16=True, compile=True)
    for form in ('token', 'released'):
        plain = build_ila(form, frames, blocks=blocks).eval().to(video.device)
        weights = plain.state_dict()
        straightforward = partial(
            classify_with(make_straightforward(plain)), video)
        for version, settings in versions.items():
            model = build_ila(form, frames, settings, blocks)
            model.load_state_dict(weights)
            model.eval().to(video.device).backbone.switch_to_deploy()
            name = f'ILA {form}{version}'
            functions[name] = partial(classify_with(model), video)
            check_equal(name, functions[name](), straightforward(),
                        2e-2 if 'bf16' in name else 1e-5)
        functions[f'ILA {form}, straightforward'] = straightforward
    return functions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_sizes(parser, frames=8, size=224, batch_size=1, rounds=15)
    add_blocks_argument(parser)
    parser.add_argument(
        '--compile', action='store_true', help='compile the models')
    args = parser.parse_args()
    torch.manual_seed(0)
    video = torch.randn(args.batch_size, 3, args.frames, args.size, args.size)
    if torch.cuda.is_available():
        video = video.cuda()
    print(f'{describe_machine()}\n{describe_model(args.blocks)}, '
          f'{args.batch_size} x {args.frames} x {args.size} x {args.size}, '
          f'{args.rounds} interleaved rounds')
    with torch.inference_mode():
        functions = build_functions(args.frames, video, args.blocks,
                                    args.compile)
        print_table(measure(functions, args.rounds), BASE)


if __name__ == '__main__':
    main()
