"""Classify videos: files, folders, patterns and folders of frames."""
import argparse
import csv
import json
import os
import sys
from pathlib import Path
from typing import Iterator

from cli import (add_config_arguments, check_file, exit_on_bad_input,
                 load_overridden_config)

from projects.ila.apis import ILAInferencer
from projects.ila.utils import replacing


def flatten(predictions: list) -> Iterator[dict]:
    """Give one row per video or window and class.

    Args:
        predictions (list[dict]): What ``ILAInferencer`` predicts.

    Yields:
        dict: ``file``, ``start``, ``end``, both None without windows,
        ``rank`` from 1, ``label``, ``name`` and ``score``.
    """
    for prediction in predictions:
        for part in prediction.get('timeline', [prediction]):
            for rank, best in enumerate(part['topk'], 1):
                yield dict(
                    file=prediction['file'],
                    start=part.get('start'),
                    end=part.get('end'),
                    rank=rank,
                    **best)


def print_table(predictions: list) -> None:
    """Print the classes of each file, the best first."""
    for prediction in predictions:
        print(prediction['file'])
        for row in flatten([prediction]):
            times = ''
            if row['start'] is not None:
                times = f"{row['start']:8.2f} - {row['end']:.2f} s"
                times = (times if row['rank'] == 1 else '').ljust(21)
            print(f"{times}{row['score']:8.1%}{row['label']:6}  {row['name']}")


def write_results(path: str, result: dict) -> None:
    """Write a result as a whole, as JSON or as a table of :func:`flatten`."""
    with replacing(path) as partial, open(
            partial, 'w', newline='', encoding='utf-8') as file:
        if path.endswith('.json'):
            json.dump(result, file, indent=2)
        else:
            columns = 'file', 'start', 'end', 'rank', 'label', 'name', 'score'
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(flatten(result['predictions']))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser, 'config file of the model')
    parser.add_argument('checkpoint', help="the model's weights")
    parser.add_argument(
        'paths',
        nargs='+',
        help='videos, folders with videos or of frames, quoted patterns')
    parser.add_argument(
        '--classes',
        help="class names, 'one,two' or a text file with one per line: other "
        "classes for a text head, names for a linear head's labels")
    parser.add_argument(
        '--topk', type=int, default=5, help='classes to give, at most')
    parser.add_argument(
        '--batch-size', type=int, default=1, help='videos at once')
    parser.add_argument('--device', help='such as cuda:1 or cpu')
    parser.add_argument(
        '--window', type=float, help='seconds, to classify a video in parts')
    parser.add_argument(
        '--stride', type=float, help='seconds from one window to the next')
    parser.add_argument('--out', help='file to write, .json or .csv')
    args = parser.parse_args()
    if args.out and not args.out.endswith(('.json', '.csv')):
        parser.error(f'--out {args.out} must end with .json or .csv')
    if args.out and not os.access(Path(args.out).parent, os.W_OK):
        parser.error(f'--out {args.out}: there is no such folder to write to')
    if ',' in (args.classes or '') and not os.path.isfile(args.classes):
        args.classes = args.classes.split(',')
    return args


def main() -> None:
    args = parse_args()
    cfg = load_overridden_config(args)
    check_file(args.checkpoint, 'Checkpoint')
    with exit_on_bad_input():
        inferencer = ILAInferencer(
            cfg,
            args.checkpoint,
            args.device,
            args.classes,
            show_progress=sys.stderr.isatty())
        result = inferencer(
            args.paths,
            batch_size=args.batch_size,
            topk=args.topk,
            window=args.window,
            stride=args.stride)
    print_table(result['predictions'])
    if args.out:
        try:
            write_results(args.out, result)
        except OSError as error:
            sys.exit(f'{args.out} can not be written: {error.strerror}')
    errors = result['errors']
    if errors:
        count = len(errors) + len(result['predictions'])
        lines = [f'{len(errors)} of {count} failed:']
        lines += [f"{error['file']}: {error['error']}" for error in errors]
        sys.exit('\n'.join(lines))


if __name__ == '__main__':
    main()
