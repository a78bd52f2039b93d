"""The command line that all converters share."""
import argparse
import sys
from pathlib import Path
from typing import Callable

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from arguments import add_config_arguments  # noqa: E402
from arguments import check_file, check_outputs  # noqa: E402


def main(converter: str, description: str) -> None:
    """Convert a file, print the report and write the result.

    Args:
        converter (str): Name of a function of ``projects.ila.apis`` that
            takes a model's config and the path of a file.
        description (str): Description of the tool.
    """
    parser = argparse.ArgumentParser(description=description)
    add_config_arguments(parser, 'config of the ILA model')
    parser.add_argument('source', help='file to convert')
    parser.add_argument('target', help='file to write')
    args = parser.parse_args()
    check_file(args.source, 'Source')
    check_outputs(args.target)

    from projects.ila import apis
    from projects.ila.cli import load_overridden_config
    cfg = load_overridden_config(args, 'model')
    write(args.target, getattr(apis, converter), cfg.model, args.source)


def write(target: str, converter: Callable, *args: object) -> None:
    """Write a converter's result for some arguments, and print its report."""
    from projects.ila.cli import exit_on_bad_input
    from projects.ila.weights import write_checkpoint
    with exit_on_bad_input():
        checkpoint, report = converter(*args)
        write_checkpoint(target, checkpoint)
    print(report)
    for key, value in checkpoint['meta']['ila'].items():
        if key != 'class_names':
            print(f'{key}: {value}')
    print(f'written to {target}')
