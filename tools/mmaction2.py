"""Run one of MMAction2's own tools on configs and dumps of ILA."""
import argparse
import runpy
import sys

from arguments import find_own_config


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'tool',
        help="path of the tool in MMAction2's tools/, such as "
        'analysis_tools/confusion_matrix.py')
    parser.add_argument(
        'arguments',
        nargs=argparse.REMAINDER,
        help='arguments of the tool, which it lists with --help; configs of '
        'this project may be given by name, such as ila_vitb16_k400')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from projects.ila.cli import find_mmaction_tool
    path = find_mmaction_tool(args.tool)
    sys.argv = [
        path, *(find_own_config(word) or word for word in args.arguments)
    ]
    runpy.run_path(path, run_name='__main__')


if __name__ == '__main__':
    main()
