"""Classify videos: files, folders, patterns, URLs, cameras, streams."""
import argparse
import csv
import json
import os
import sys
from contextlib import contextmanager, nullcontext, suppress
from typing import Iterator

from arguments import (add_inference_arguments, check_output_folder,
                       check_outputs, exit_on_failures, start_inference)

COLUMNS = 'file', 'start', 'end', 'rank', 'label', 'name', 'score'


def flatten(prediction: dict) -> Iterator[dict]:
    """Yield one row per class, and per window if there are any.

    Args:
        prediction (dict): Prediction of ``ILAInferencer`` for a file.

    Yields:
        dict: ``file``; ``start`` and ``end``, both None without windows;
        ``rank``, from 1; ``label``, ``name`` and ``score``.
    """
    for part in prediction.get('timeline', [prediction]):
        for rank, best in enumerate(part['topk'], 1):
            yield dict(
                file=prediction['file'],
                start=part.get('start'),
                end=part.get('end'),
                rank=rank,
                **best)


def print_table(prediction: dict) -> None:
    """Print the classes of a file, the best first."""
    print(prediction['file'])
    for row in flatten(prediction):
        times = ''
        if row['start'] is not None:
            times = f"{row['start']:8.2f} - {row['end']:.2f} s"
            times = (times if row['rank'] == 1 else '').ljust(21)
        print(f"{times}{row['score']:8.1%}{row['label']:6}  {row['name']}")
    sys.stdout.flush()


class ResultFile:
    """A JSON or CSV file that is written as results come.

    When its block is left, even by an error, the file is complete and holds
    all results up to then. Without any result, an earlier file is kept. Bytes
    of file names that are not UTF-8 are escaped, as in ``caf\\udce9.mp4``.

    Args:
        path (str): The file. Until it is complete, it has another name.
    """

    def __init__(self, path: str) -> None:
        self.path, self.partial = path, f'{path}.partial'
        self.count, self.errors, self.failed = 0, [], False

    def __enter__(self) -> 'ResultFile':
        with self._naming_failure():
            self.file = open(
                self.partial,
                'w',
                newline='',
                encoding='utf-8',
                errors='backslashreplace')
            self.table = csv.DictWriter(self.file, COLUMNS)
            if self.path.endswith('.json'):
                self.file.write('{"predictions": [')
            else:
                self.table.writeheader()
        return self

    @contextmanager
    def _naming_failure(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.failed = True
            raise ValueError(
                f"cannot write '{self.path}': {error.strerror}; fix this, for "
                'instance make room on the disk. What was written until now '
                f"is in '{self.partial}'") from error

    def write(self, result: dict) -> None:
        """Write a result of ``ILAInferencer.iterate``.

        Args:
            result (dict): A prediction or an error; only JSON holds errors.

        Raises:
            ValueError: The file cannot be written.
        """
        if 'error' in result:
            self.errors.append(result)
            return
        with self._naming_failure():
            if self.path.endswith('.json'):
                self.file.write(',\n' if self.count else '\n')
                json.dump(result, self.file, allow_nan=False)
            else:
                self.table.writerows(flatten(result))
            self.file.flush()
        self.count += 1

    def __exit__(self, kind: type, error: BaseException,
                 trace: object) -> None:
        if self.failed:
            with suppress(OSError):
                self.file.close()
            return
        if error and not self.count and not self.errors:
            self.file.close()
            os.remove(self.partial)
            return
        with self._naming_failure():
            if self.path.endswith('.json'):
                errors = ',\n'.join(map(json.dumps, self.errors))
                self.file.write(f'\n],\n"errors": [\n{errors}\n]}}\n')
            self.file.flush()
            os.fsync(self.file.fileno())
            self.file.close()
            os.replace(self.partial, self.path)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_inference_arguments(parser)
    parser.add_argument(
        '--classes',
        help="class names, 'one,two' or a text file with one per line: other "
        "classes for a text head, names for a linear head's labels")
    parser.add_argument(
        '--topk',
        type=int,
        default=5,
        help='largest number of classes per result; default: %(default)s')
    parser.add_argument(
        '--window',
        type=float,
        help='classify a video in windows of this many seconds; default: the '
        'whole video')
    parser.add_argument(
        '--stride',
        type=float,
        help='seconds from one window to the next; default: --window')
    parser.add_argument(
        '--stream',
        action='store_true',
        help='classify one video, camera (0) or stream (rtsp://...) '
        'continuously: after every frame, or every --stride seconds, the last '
        '--window (default: 2) seconds')
    parser.add_argument(
        '--vid-out-dir',
        help='folder for the videos with their classes drawn on them')
    parser.add_argument(
        '--out',
        help='file for the results, .json or .csv; default: results are only '
        'printed')
    args = parser.parse_intermixed_args()
    if args.stream and args.vid_out_dir:
        parser.error('--vid-out-dir does not go with --stream')
    if args.vid_out_dir:
        check_output_folder(args.vid_out_dir)
    check_outputs(args.out, suffixes=('.json', '.csv'))
    return args


def classify(inferencer: object, args: argparse.Namespace) -> Iterator[dict]:
    """Start the classification that the arguments describe."""
    if not args.stream:
        return inferencer.iterate(
            args.paths,
            batch_size=args.batch_size,
            topk=args.topk,
            window=args.window,
            stride=args.stride,
            vid_out_dir=args.vid_out_dir)
    if len(args.paths) > 1:
        raise ValueError('--stream takes one video, camera or URL, got '
                         f"{len(args.paths)}: {', '.join(args.paths)}")
    window = 2. if args.window is None else args.window
    return inferencer.stream(args.paths[0], window, args.stride, args.topk)


def main() -> None:
    args = parse_args()
    cfg = start_inference(args)
    from projects.ila.apis import ILAInferencer
    from projects.ila.cli import exit_on_bad_input
    errors, predicted, count = [], set(), 0
    try:
        with exit_on_bad_input():
            inferencer = ILAInferencer(
                cfg,
                args.checkpoint,
                args.device,
                args.classes,
                show_progress=sys.stderr.isatty() and not sys.stdout.isatty())
            results = classify(inferencer, args)
            with ResultFile(args.out) if args.out else nullcontext() as output:
                for result in results:
                    # A video that could not be drawn has both.
                    failed = 'error' in result
                    count += not (failed and result['file'] in predicted)
                    if failed:
                        errors.append(result)
                    else:
                        predicted.add(result['file'])
                        print_table(result)
                    if output:
                        output.write(result)
    except KeyboardInterrupt:
        print(f'interrupted after {count} results', file=sys.stderr)
        sys.exit(130)
    exit_on_failures(errors, count)


if __name__ == '__main__':
    main()
