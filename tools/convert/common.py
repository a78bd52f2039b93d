"""The command line that all converters share."""
import argparse
import sys
from pathlib import Path
from typing import Callable

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli import check_outputs  # noqa: E402
from cli import exit_on_bad_input  # noqa: E402
from cli import add_config_arguments, load_overridden_config  # noqa: E402

from projects.ila.weights import write_checkpoint  # noqa: E402


def main(convert: Callable, description: str) -> None:
    """Convert a file, print the report and write the result.

    Args:
        convert (Callable): From ``projects.ila.apis``: takes a model's config
            and the path of a file.
        description (str): What the tool does.
    """
    parser = argparse.ArgumentParser(description=description)
    add_config_arguments(parser, 'config of the ILA model')
    parser.add_argument('source', help='file to convert')
    parser.add_argument('target', help='file to write')
    args = parser.parse_args()
    check_outputs(args.target)
    cfg = load_overridden_config(args)

    with exit_on_bad_input():
        checkpoint, report = convert(cfg.model, args.source)
        write_checkpoint(args.target, checkpoint)
    print(report)
    for key, value in checkpoint['meta']['ila'].items():
        if key != 'class_names':
            print(f'{key}: {value}')
    print(f'written to {args.target}')
