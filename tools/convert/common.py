"""The command line that all converters share."""
import argparse
import sys
from pathlib import Path
from typing import Callable

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli import exit_on_bad_input, load_config  # noqa: E402
from mmengine.config import DictAction  # noqa: E402
from mmengine.registry import init_default_scope  # noqa: E402

from projects.ila.utils import write_checkpoint  # noqa: E402


def main(convert: Callable, description: str) -> None:
    """Convert a file, print the report and write the result.

    Args:
        convert (Callable): From ``projects.ila.apis``: takes a model's config
            and the path of a file.
        description (str): What the tool does.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('config', help='config of the ILA model')
    parser.add_argument('source', help='file to convert')
    parser.add_argument('target', help='file to write')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config, as key=value')
    args = parser.parse_args()
    cfg = load_config(args.config)
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    init_default_scope(cfg.get('default_scope', 'mmaction'))

    with exit_on_bad_input():
        checkpoint, report = convert(cfg.model, args.source)
        write_checkpoint(args.target, checkpoint)
    print(report)
    for key, value in checkpoint['meta']['ila'].items():
        if key != 'class_names':
            print(f'{key}: {value}')
    print(f'written to {args.target}')
