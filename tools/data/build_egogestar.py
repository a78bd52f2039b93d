"""Make the lists of EgoGestAR's test videos, real gestures in the air.

FOLDER is `testvideo` in a clone of https://github.com/varunj/EgoGestAR. The
lists split the videos by the person who recorded them, so that the test has
other people, rooms and cameras than the training.
"""
import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from arguments import check_output_folder  # noqa: E402


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', metavar='FOLDER', help='folder of videos')
    parser.add_argument(
        '--out',
        default='data/egogestar',
        help='folder for the lists; default: %(default)s')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    check_output_folder(args.out)
    from projects.ila.cli import exit_on_bad_input
    from projects.ila.datasets.annotations import write_files
    from projects.ila.datasets.egogestar import make_lists
    with exit_on_bad_input():
        files = make_lists(args.folder)
        write_files({
            os.path.join(args.out, name): text
            for name, text in files.items()
        })
    for name, text in files.items():
        print(f'{len(text.splitlines()):4} lines in '
              f'{os.path.join(args.out, name)}')


if __name__ == '__main__':
    main()
