"""Compare the predictions of ``tools/test.py`` in other precisions.

bfloat16 and the compiled network must predict the same as float32: the same
class for every video, and logits that differ by less than 2 % of the largest.
Logits are averaged over the views of a video.
"""
import argparse
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Sequence, Tuple, Union

import torch
from timing import describe_machine
from torch import Tensor

TOOLS = Path(__file__).resolve().parents[1] / 'tools'
TOLERANCE = 2e-2
VERSIONS = {
    'bf16': ['model.bf16=True'],
    'compiled': ['model.compile=True'],
    'bf16, compiled': ['model.bf16=True', 'model.compile=True'],
}


def test(config: str,
         file: Union[str, Path],
         options: Sequence[str] = (),
         tool: str = 'test.py') -> Tuple[Tensor, Tensor]:
    """Test a checkpoint or an exported file.

    Args:
        config (str): Path of the config.
        file (str | Path): Path of the file.
        options (Sequence[str]): Settings as key=value.
        tool (str): The one in :data:`TOOLS` to test with.

    Returns:
        tuple[Tensor, Tensor]: Logits ``(videos, classes)`` and labels.
    """
    with tempfile.TemporaryDirectory() as folder:
        dump = Path(folder, 'out.pkl')
        subprocess.run([
            sys.executable, TOOLS / tool, config, file, '--work-dir', folder,
            '--dump', dump, '--cfg-options',
            'model.cls_head.average_clips=score', *options
        ],
                       check=True,
                       stdout=subprocess.DEVNULL)
        results = pickle.loads(dump.read_bytes())
    return (torch.stack([result['pred_score'] for result in results]),
            torch.cat([result['gt_label'] for result in results]))


def compare(name: str, logits: Tensor, expected: Tensor,
            labels: Tensor) -> bool:
    """Print one row of the table.

    Returns:
        bool: Whether the predictions agree.
    """
    classes = logits.argmax(1)
    same = (classes == expected.argmax(1)).sum().item()
    error = ((logits - expected).abs().max() / expected.abs().max()).item()
    print(
        f'| {name} | {100 * (classes == labels).float().mean():.2f} % | '
        f'{same} of {len(labels)} | {error:.1e} |',
        flush=True)
    return same == len(labels) and error < TOLERANCE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    parser.add_argument(
        '--versions',
        nargs='+',
        choices=VERSIONS,
        default=[*VERSIONS],
        help='precisions to compare; default: %(default)s')
    args = parser.parse_args()
    print(f'{describe_machine()}\n{args.config}, {args.checkpoint}')
    print('| | top-1 | same class as in float32 | difference of logits |')
    print('|---|---|---|---|')
    expected, labels = test(args.config, args.checkpoint)
    compare('float32', expected, expected, labels)
    agreed = []
    for name in args.versions:
        logits, _ = test(args.config, args.checkpoint, VERSIONS[name])
        agreed.append(compare(name, logits, expected, labels))
    if not all(agreed):
        sys.exit('the predictions differ')


if __name__ == '__main__':
    main()
