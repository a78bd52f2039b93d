"""Generate videos whose classes differ only in motion."""
import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from arguments import exit_on_sigterm  # noqa: E402


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('root', help='folder of the data set')
    parser.add_argument(
        '--train',
        type=int,
        default=2000,
        help='number of training videos; default: %(default)s')
    parser.add_argument(
        '--val',
        type=int,
        default=400,
        help='number of held-out videos; default: %(default)s')
    parser.add_argument(
        '--seed',
        type=int,
        default=0,
        help='seed of the videos; default: %(default)s')
    parser.add_argument(
        '--size',
        type=int,
        default=112,
        help='height and width in pixels; default: %(default)s')
    parser.add_argument(
        '--frames',
        type=int,
        help='number of frames of a video; default: 24, or 32 at level 3')
    parser.add_argument(
        '--level',
        type=lambda text: int(text) if text.isdigit() else text,
        choices=[0, 1, 2, 3, 'figures'],
        default=0,
        help='0 plain, 1 with distractors, 2 with camera motion too, 3 with '
        'two motions whose order is the class, or figures that a small shape '
        'draws; default: %(default)s')
    parser.add_argument(
        '--workers',
        type=int,
        default=2,
        help='number of processes; default: %(default)s')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    exit_on_sigterm()
    from projects.ila.datasets.motion import make_dataset
    try:
        make_dataset(args.root, args.train, args.val, args.seed, args.frames,
                     args.size, args.workers, args.level)
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        print('\nstopped; start again to complete the videos', file=sys.stderr)
        sys.exit(130)


if __name__ == '__main__':
    main()
