"""Export an ILA recognizer as ONNX or as a program of torch.export.

The input of the file is uint8 RGB clips (batch, 3, frames, height, width), the
output is the logits (batch, num_classes). The batch size is free; all other
sizes are those of the config. Before the file is saved, its logits are
compared with PyTorch's.
"""
import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

# yapf: disable
from arguments import (add_config_arguments, check_file,  # noqa: E402
                       check_outputs, exit_on_sigterm)

# yapf: enable


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser, 'config file of the model')
    parser.add_argument('checkpoint', help='weights of the model')
    parser.add_argument(
        '--out', required=True, help='file to write, .onnx or .pt2')
    parser.add_argument(
        '--int8',
        action='store_true',
        help='quantise the linear layers of an ONNX file: inputs to 8 bits, '
        'weights to 7 bits, so that sums do not saturate on any processor')
    parser.add_argument(
        '--full-range',
        action='store_true',
        help='with --int8, quantise the weights to 8 bits. The file then '
        'needs processors with VNNI: on others, sums saturate and predictions '
        'are wrong')
    args = parser.parse_args()
    if args.full_range and not args.int8:
        sys.exit('--full-range needs --int8')
    suffixes = ['.onnx'] if args.int8 else ['.onnx', '.pt2']
    if os.path.splitext(args.out)[1] not in suffixes:
        sys.exit(f"{args.out}: {'--int8 needs' if args.int8 else 'give'} a "
                 f"name that ends in {' or '.join(suffixes)}")
    check_file(args.checkpoint, 'Checkpoint')
    check_outputs(args.out)
    return args


def main() -> None:
    args = parse_args()
    exit_on_sigterm()
    from projects.ila.apis import deployment
    from projects.ila.apis.exported import check_exported
    from projects.ila.cli import exit_on_bad_input, load_overridden_config
    from projects.ila.utils import replacing
    cfg = load_overridden_config(args)
    with exit_on_bad_input():
        write = deployment.write_program
        if args.out.endswith('.onnx'):
            deployment.check_packages(*deployment.ONNX_PACKAGES)
            write = deployment.write_onnx
        print(f'reading {args.checkpoint}', flush=True)
        classifier, meta = deployment.load_classifier(cfg, args.checkpoint)
        if args.int8:
            meta['precision'] = 'int8-full' if args.full_range else 'int8'
        print('tracing the model', flush=True)
        program = deployment.trace(classifier, meta)
        try:
            with replacing(args.out) as partial:
                print(f'writing {args.out}', flush=True)
                write(program, meta, partial)
                print("comparing its logits with PyTorch's", flush=True)
                error = check_exported(partial, classifier)
        except OSError as reason:
            sys.exit(f'cannot write {args.out}: {reason}; choose another '
                     'name, or make room')
    for key, value in meta.items():
        if key != 'class_names':
            print(f'{key}: {value}')
    print(f"the logits differ from PyTorch's by at most {error:.1e} of the "
          'largest')
    print(f'written to {args.out}')


if __name__ == '__main__':
    main()
