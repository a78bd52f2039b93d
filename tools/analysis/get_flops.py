"""Count an ILA model's multiply-accumulates (MACs) and parameters."""
import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from arguments import add_config_arguments  # noqa: E402

# Both are shown, since they have the same settings, except for `difference`.
ALIGNMENTS = ('TokenAlignment', 'ReleasedAlignment')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser, 'config file of the model')
    parser.add_argument(
        '--shape',
        type=int,
        nargs=3,
        metavar=('T', 'H', 'W'),
        help='frames, height and width; default: from the config')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from projects.ila.analysis import complexity
    from projects.ila.cli import exit_on_bad_input, load_overridden_config
    from projects.ila.utils.clip_shape import find_clip_length, find_frame_size
    from projects.ila.utils.config_arguments import find_name
    cfg = load_overridden_config(args, 'model')
    if 'temporal' not in cfg.model.backbone:  # The backbone's default.
        cfg.model.backbone.temporal = dict(type='TokenAlignment')
    temporal = cfg.model.backbone.temporal or dict(type='none')
    kinds = (temporal['type'], )
    own_settings = temporal.get('difference') or 'type' in (
        temporal.get('predictor') or {})
    if find_name(kinds[0]) in ALIGNMENTS and not own_settings:
        kinds = ALIGNMENTS

    columns = []
    for kind in kinds:
        if cfg.model.backbone.get('temporal'):
            temporal['type'] = kind
        with exit_on_bad_input():
            model = complexity.build_without_data(cfg.model)
            frames, *size = args.shape or (
                find_clip_length(cfg),
                *find_frame_size(cfg, model.backbone.image.img_size))
            columns += complexity.count(model, frames, size)
    print(f'{os.path.basename(args.config)}: one view of {frames} x '
          f'{size[0]} x {size[1]}')
    names = [*map(find_name, kinds)]
    print(f"{'':17}" + ''.join(f'{name + unit:>26}' for name in names
                               for unit in (' GMACs', ' Mparams')))

    def print_row(name: str, values: list) -> None:
        print(f'{name:17}' + ''.join(
            f'{value / scale:26.3f}'
            for value, scale in zip(values, (1e9, 1e6) * len(kinds))))

    for part in complexity.PARTS:
        print_row(part, [column[part] for column in columns])
    print_row('total', [sum(column.values()) for column in columns])
    published = complexity.published_gmacs(cfg.model, frames, size)
    if published and kinds is ALIGNMENTS:
        ratio = sum(columns[0].values()) / 1e9 / published
        print(f'published (paper): {published} GMACs; TokenAlignment takes '
              f'{ratio:.3f} of it')


if __name__ == '__main__':
    main()
