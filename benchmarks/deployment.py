"""Compare a recognizer with its exported files, on the CPU.

By default, the time of one prediction of ViT-B/16, from uint8 pixels to
logits, is compared. Alternatively, the predictions of a checkpoint for a
config's test videos are compared, with logits averaged over a video's views.
"""
import argparse
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Callable, Dict

import torch
from inference import check_equal
from models import build_ila
from precision import TOOLS, compare, test
from timing import add_sizes, describe_machine, measure, print_table
from torch import Tensor, nn

from projects.ila.apis.deployment import (ClipClassifier, random_clips, trace,
                                          write_onnx, write_program)
from projects.ila.apis.exported import load_exported

PREPROCESSOR = dict(
    type='ActionDataPreprocessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    format_shape='NCTHW')
BASE = 'PyTorch'
INT8, FULL_RANGE = 'ONNX Runtime, INT8', 'ONNX Runtime, INT8, full range'
# Name, suffix of the file and arguments of tools/deployment/export.py.
FILES = (('torch.export', '.pt2', ()), ('ONNX Runtime', '.onnx', ()),
         (INT8, '.onnx', ('--int8', )))
PRECISIONS = {INT8: 'int8', FULL_RANGE: 'int8-full'}


def predict(model: nn.Module, clips: Tensor) -> Tensor:
    """Classify uint8 clips, ``(B, 3, T, H, W)``, as in tools/test.py."""
    views, _ = model.data_preprocessor.preprocess([clips], None)
    feats, _ = model.extract_feat(views, test_mode=True)
    return model.cls_head(feats)


def build_functions(form: str, meta: dict,
                    clips: Tensor) -> Dict[str, Callable]:
    """Build the functions to compare, and check that their logits agree."""
    models = {}
    for name, bf16 in ((BASE, False), ('PyTorch, bf16', True)):
        torch.manual_seed(0)
        model = build_ila(form, meta['num_frames'],
                          dict(data_preprocessor=PREPROCESSOR, bf16=bf16))
        models[name] = model.eval().requires_grad_(False)
        model.backbone.switch_to_deploy()
    functions = {
        name: partial(predict, model, clips)
        for name, model in models.items()
    }
    program = trace(ClipClassifier(models[BASE]), meta)
    with tempfile.TemporaryDirectory() as folder:
        for name, suffix, *_ in (*FILES, (FULL_RANGE, '.onnx')):
            path = str(Path(folder, f'model{suffix}'))
            write = write_onnx if suffix == '.onnx' else write_program
            precision = PRECISIONS.get(name, 'float32')
            write(program, dict(meta, precision=precision), path)
            functions[name] = partial(load_exported(path)[0], clips)
    # The full range is wrong on processors without VNNI.
    tolerances = {'PyTorch, bf16': 2e-2, INT8: 1e-1, FULL_RANGE: float('inf')}
    for name, function in functions.items():
        check_equal(f'ILA {form}, {name}', function(), functions[BASE](),
                    tolerances.get(name, 1e-4))
    return functions


def compare_predictions(config: str, checkpoint: str) -> None:
    """Export a checkpoint and print a row for each kind of file."""
    print(f'{config}, {checkpoint}')
    print('| | top-1 | same class as in PyTorch | difference of logits |')
    print('|---|---|---|---|')
    expected, labels = test(config, checkpoint)
    compare(BASE, expected, expected, labels)
    for name, suffix, arguments in FILES:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, f'model{suffix}')
            subprocess.run([
                sys.executable, TOOLS / 'deployment/export.py', config,
                checkpoint, '--out', file, *arguments
            ],
                           check=True,
                           stdout=subprocess.DEVNULL)
            logits, _ = test(config, file, tool='deployment/test.py')
        compare(name, logits, expected, labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_sizes(parser, frames=8, size=224, batch_size=1, rounds=15)
    parser.add_argument(
        '--predictions',
        nargs=2,
        metavar=('CONFIG', 'CHECKPOINT'),
        help='compare the predictions of a checkpoint instead of times')
    args = parser.parse_args()
    print(describe_machine())
    if args.predictions:
        compare_predictions(*args.predictions)
        return
    print(f'ViT-B/16, {args.batch_size} x {args.frames} x {args.size} x '
          f'{args.size}, {args.rounds} interleaved rounds')
    meta = dict(num_frames=args.frames, img_size=args.size)
    clips = random_clips(args.batch_size, meta)
    for form in ('token', 'released'):
        functions = build_functions(form, meta, clips)
        print(f'\nILA {form}:\n')
        with torch.inference_mode():
            print_table(measure(functions, args.rounds), BASE)


if __name__ == '__main__':
    main()
