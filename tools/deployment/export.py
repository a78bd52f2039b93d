"""Export an ILA recognizer as ONNX or as a program of torch.export.

The file takes uint8 RGB clips (batch, 3, frames, height, width) and gives the
logits (batch, num_classes) of every clip. The batch is of any size, all else
as in the config. Before the file appears, its logits are compared with
PyTorch's.
"""
import argparse
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli import check_file  # noqa: E402
from cli import check_outputs  # noqa: E402
from cli import exit_on_bad_input  # noqa: E402
from cli import add_config_arguments, load_overridden_config  # noqa: E402

from projects.ila.apis import deployment  # noqa: E402
from projects.ila.utils import replacing  # noqa: E402

# Allowed difference of the logits, relative to the largest.
TOLERANCES = {
    'float32': 1e-4,
    **dict.fromkeys(deployment.INT8_PRECISIONS, 0.1)
}


def check_exported(path: str, classifier: deployment.ClipClassifier) -> float:
    """Compare a file with the model, on two sizes of batches.

    Returns:
        float: Greatest difference of the logits, relative to the largest.

    Raises:
        ValueError: It is greater than the tolerance.
    """
    run, meta = deployment.load_exported(path)
    error, tolerance = 0., TOLERANCES[meta['precision']]
    for batch in (1, 3):
        clips = deployment.random_clips(batch, meta)
        expected = classifier(clips)
        difference = (run(clips) - expected).abs().max()
        error = max(error, (difference / expected.abs().max()).item())
    if not error <= tolerance:
        hint = ''
        if meta['precision'] == 'int8-full':
            hint = '. 8-bit weights need a processor with VNNI; leave out ' \
                '--full-range'
        raise ValueError(
            f"the exported model's logits differ by {error:.1e} of the "
            f'largest, more than {tolerance:g}; nothing was written{hint}')
    return error


@contextmanager
def exit_if_not_writable(path: str) -> Iterator[None]:
    """Exit if a file can not be written."""
    try:
        yield
    except OSError as error:
        sys.exit(f'Cannot write {path}: {error}. Please choose another name, '
                 'or make room')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser, 'config file of the model')
    parser.add_argument('checkpoint', help='its weights')
    parser.add_argument('output', help='file to write, .onnx or .pt2')
    parser.add_argument(
        '--int8',
        action='store_true',
        help='quantise the linear layers of an ONNX file: their inputs to 8 '
        'bits, their weights to 7, which is exact on every processor')
    parser.add_argument(
        '--full-range',
        action='store_true',
        help='with --int8, quantise the weights to 8 bits. The file then '
        'needs processors with VNNI: on others its sums saturate and its '
        'predictions are wrong')
    args = parser.parse_args()
    if args.full_range and not args.int8:
        sys.exit('--full-range needs --int8')
    suffixes = ['.onnx'] if args.int8 else ['.onnx', '.pt2']
    if os.path.splitext(args.output)[1] not in suffixes:
        sys.exit(f"{args.output}: {'--int8 needs' if args.int8 else 'give'} a "
                 f"name that ends in {' or '.join(suffixes)}")
    return args


def main() -> None:
    args = parse_args()
    check_outputs(args.output)
    cfg = load_overridden_config(args)
    check_file(args.checkpoint, 'Checkpoint')
    with exit_on_bad_input():
        write = deployment.write_program
        if args.output.endswith('.onnx'):
            deployment.check_packages(*deployment.ONNX_PACKAGES)
            write = deployment.write_onnx
        classifier, meta = deployment.load_classifier(cfg, args.checkpoint)
        if args.int8:
            meta['precision'] = 'int8-full' if args.full_range else 'int8'
        program = deployment.trace(classifier, meta)
        with exit_if_not_writable(args.output), replacing(
                args.output) as partial:
            write(program, meta, partial)
            error = check_exported(partial, classifier)
    for key, value in meta.items():
        if key != 'class_names':
            print(f'{key}: {value}')
    print(f'the logits differ by at most {error:.1e} of the largest')
    print(f'written to {args.output}')


if __name__ == '__main__':
    main()
