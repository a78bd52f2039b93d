"""Compare the time of a training step: ILA's versions and a plain ViT."""
import argparse
import sys

import torch
from models import add_blocks_argument, describe_model
from timing import add_sizes, describe_machine, measure, print_table
from training_step import RECIPES, build_training_step

PLAIN = 'plain ViT'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_sizes(parser, batch_size=2, size=224, rounds=5)
    add_blocks_argument(parser)
    parser.add_argument(
        '--forms',
        nargs='+',
        default=['token', 'released'],
        help='forms of ILA; default: %(default)s')
    args = parser.parse_args()
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    sizes = args.size, args.blocks
    print(f'{describe_machine()}\n{describe_model(args.blocks)}, '
          f'{args.batch_size} x 8 x {args.size} x {args.size}, '
          f'{args.rounds} interleaved rounds')

    steps = {
        PLAIN:
        build_training_step('plain', '', False, args.batch_size, device,
                            *sizes)
    }
    for form in args.forms:
        expected = None
        for recipe in RECIPES:
            torch.manual_seed(0)
            name = f'ILA {form}, {recipe}'
            steps[name] = build_training_step(form, recipe, False,
                                              args.batch_size, device, *sizes)
            torch.manual_seed(1)  # For the dropout.
            loss = steps[name]().item()
            expected = expected or loss
            error = abs(loss / expected - 1)
            print(f'{name}: the loss differs by {error:.1e}')
            if not error < (2e-2 if recipe == 'bf16' else 1e-4):
                sys.exit(f'{name}: the loss differs by {error:.1e}')
    print_table(measure(steps, args.rounds, warm_up=1), PLAIN)


if __name__ == '__main__':
    main()
