"""Count an ILA model's multiply-accumulates (MACs) and parameters."""
import argparse
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Tuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch  # noqa: E402
from cli import exit_on_bad_input  # noqa: E402
from cli import add_config_arguments, load_overridden_config  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from mmaction.registry import MODELS  # noqa: E402
from mmaction.structures import ActionDataSample  # noqa: E402
from projects.ila.weights import is_temporal  # noqa: E402
from projects.ila.weights.names import KINETICS_CLASSES  # noqa: E402
from projects.ila.weights.names import SSV2_CLASSES  # noqa: E402

# GFLOPs per view in the paper, which are MACs: by number of classes, then
# (arch, image size, frames).
PUBLISHED = {
    KINETICS_CLASSES: {
        ('clip-b/32', 224, 8): 40,
        ('clip-b/16', 224, 16): 295,
        ('clip-l/14', 224, 8): 673,
        ('clip-l/14', 336, 16): 3130,
    },
    SSV2_CLASSES: {
        ('clip-b/16', 224, 16): 438,
        ('clip-l/14', 224, 8): 907,
        ('clip-l/14', 336, 16): 3723,
    },
}
# They take the same settings, but for `difference`.
ALIGNMENTS = ('TokenAlignment', 'ReleasedAlignment')
AFTER_BLOCKS = ('neck.', *(f'backbone.image.{name}.'
                           for name in ('ln1', 'proj', 'norm', 'fc_norm',
                                        'attn_pool', 'head')))
PARTS = ('patch embedding', 'blocks', 'alignment', 'neck', 'head')


def part_of(name: str) -> str:
    """Find the part that a parameter or module belongs to.

    Args:
        name (str): Its name within an ``ILARecognizer``.

    Returns:
        str: One of ``PARTS``. What any temporal module adds counts as
        alignment.
    """
    if is_temporal(name):
        return 'alignment'
    name = f'{name}.'.replace('backbone.image.model.', 'backbone.image.')
    if name.startswith(('backbone.image.layers.', 'backbone.image.blocks.')):
        return 'blocks'
    if name.startswith(AFTER_BLOCKS):
        return 'neck'
    return 'head' if name.startswith('cls_head.') else 'patch embedding'


def count(model_cfg: dict, frames: int,
          size: Tuple[int, int]) -> Tuple[Counter, Counter]:
    """Count the MACs and parameters of each part for one view.

    All matrix products and convolutions of a prediction are counted, those
    within the attention too. A text tower is frozen and does not run per
    video: it counts by its parameters only.

    Args:
        model_cfg (dict): Config of an ``ILARecognizer``.
        frames (int): Number of frames.
        size (tuple[int, int]): Height and width in pixels.

    Returns:
        tuple[Counter, Counter]: MACs and parameters by part.
    """
    # Blending is not for prediction and needs real numbers.
    model_cfg = {**model_cfg, 'data_preprocessor': None}
    # Nothing is computed on the meta device, so the largest model is quick.
    with torch.device('meta'):
        model = MODELS.build(model_cfg).eval()
        views = torch.empty(1, 1, 3, frames, *size)
        if hasattr(model.cls_head, 'class_names'):
            model.cls_head._text_features = torch.empty(
                model.cls_head.num_classes, model.cls_head.in_channels)
        counter = FlopCounterMode(display=False)
        with torch.no_grad(), counter:
            model(views, [ActionDataSample()], mode='predict')

    macs, parameters = Counter(), Counter()
    counts = {
        name.partition('.')[2]: sum(flops.values()) // 2
        for name, flops in counter.get_flop_counts().items()
        if name != 'Global'
    }
    for name, value in counts.items():
        macs[part_of(name)] += value
        # A module's count holds those of its children; lists are not counted.
        while name:
            name = name.rpartition('.')[0]
            if name in counts:
                macs[part_of(name)] -= value
                break
    for name, parameter in model.named_parameters():
        parameters[part_of(name)] += parameter.numel()
    return macs, parameters


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser, 'config file of the model')
    parser.add_argument(
        '--shape',
        type=int,
        nargs=3,
        metavar=('T', 'H', 'W'),
        help='frames, height and width; those of the config by default')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = load_overridden_config(args)
    backbone = cfg.model.backbone
    if not args.shape and not cfg.model.get('neck'):
        sys.exit(f'{args.config}: without `model.neck` the config does not '
                 'tell the number of frames. Please give --shape')
    img_size = backbone.get('image', backbone).get('img_size', 224)
    frames, *size = args.shape or (cfg.model.neck.num_frames, img_size,
                                   img_size)
    temporal = backbone.get('temporal') or dict(type='none')
    kinds = (temporal['type'], )
    if kinds[0] in ALIGNMENTS and not temporal.get('difference'):
        kinds = ALIGNMENTS

    columns = []
    for kind in kinds:
        if backbone.get('temporal'):
            temporal['type'] = kind
        with exit_on_bad_input():
            columns += count(cfg.model, frames, size)
    print(f'{os.path.basename(args.config)}: one view of {frames} x '
          f'{size[0]} x {size[1]}')
    names = [kind.rpartition('.')[2] for kind in kinds]
    print(f"{'':17}" + ''.join(f'{name + unit:>26}' for name in names
                               for unit in (' GMACs', ' Mparams')))

    def print_row(name: str, values: list) -> None:
        print(f'{name:17}' + ''.join(
            f'{value / scale:26.3f}'
            for value, scale in zip(values, (1e9, 1e6) * len(kinds))))

    for part in PARTS:
        print_row(part, [column[part] for column in columns])
    print_row('total', [sum(column.values()) for column in columns])
    head = cfg.model.cls_head
    classes = head.get('num_classes')
    if head.get('class_names') == 'kinetics400':
        classes = KINETICS_CLASSES
    published = PUBLISHED.get(classes, {}).get(
        (str(backbone.get('arch')), size[0], frames))
    if published and size[0] == size[1] and kinds is ALIGNMENTS:
        ratio = sum(columns[0].values()) / 1e9 / published
        print(f'published (paper): {published} GMACs; TokenAlignment takes '
              f'{ratio:.3f} of it')


if __name__ == '__main__':
    main()
