"""Draw the losses, accuracies and learning rates of training logs."""
import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from arguments import check_outputs  # noqa: E402


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'sources',
        nargs='+',
        type=Path,
        metavar='WORK_DIR_OR_JSON',
        help='work directory of a training, or one scalars.json')
    parser.add_argument(
        '--keys',
        nargs='+',
        help='values to draw; losses, accuracies and learning rates by default'
    )
    parser.add_argument(
        '--out',
        type=Path,
        default='curves.png',
        help='the picture, such as .png, .pdf or .svg; default: %(default)s')
    args = parser.parse_args()
    for source in args.sources:
        if not source.exists():
            sys.exit(f'{source} not found. Please check the path, which is '
                     f'taken from {Path.cwd()}')
    check_outputs(str(args.out))
    return args


def main() -> None:
    args = parse_args()
    from projects.ila.analysis import curves
    from projects.ila.cli import exit_on_bad_input
    with exit_on_bad_input():
        runs = [curves.read_curves(source) for source in args.sources]
        keys = curves.choose_keys(runs, args.keys)
    figure = curves.draw_curves(runs, curves.label_runs(args.sources), keys)
    try:
        figure.savefig(args.out, format=args.out.suffix[1:] or 'png')
    except (OSError, ValueError) as error:
        sys.exit(f'cannot write the picture to {args.out}: {error}. Please '
                 'choose another --out')
    print(f'{args.out}: {", ".join(keys)}')


if __name__ == '__main__':
    main()
