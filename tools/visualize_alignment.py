"""Draw an ILA model's alignment of a video.

The pictures show one view, and the predicted class and its score are for this
view only.
"""
import argparse
import os
import sys
from pathlib import Path

from arguments import (add_config_arguments, add_device_argument, check_file,
                       check_output_folder)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser, 'config of the ILA model')
    parser.add_argument('checkpoint', help='weights of the model')
    parser.add_argument('video', help='any video file')
    parser.add_argument(
        '--out',
        type=Path,
        help='folder of the pictures; '
        'work_dirs/CONFIG/alignment/VIDEO by default')
    parser.add_argument(
        '--layers',
        type=int,
        nargs='+',
        help='numbers of the blocks to draw, from 0, which must have an '
        'alignment; default: all with an alignment')
    parser.add_argument(
        '--view',
        type=int,
        help='number of a view of the test pipeline, from 0; the view of the '
        'validation pipeline by default')
    parser.add_argument(
        '--classes',
        help="text file with a name per line, or 'kinetics400'; default: the "
        'names of the model')
    parser.add_argument(
        '--fps',
        type=int,
        default=2,
        help='frames per second of the overlay; default: %(default)s')
    add_device_argument(parser)
    args = parser.parse_args()
    if args.fps < 1:
        parser.error('--fps must be 1 or more')
    check_file(args.checkpoint, 'Checkpoint')
    if not os.path.isdir(args.video):  # A folder of frames is fine, too.
        check_file(args.video, 'Video')
    if args.out is None:
        args.out = Path('work_dirs',
                        Path(args.config).stem, 'alignment',
                        Path(args.video).stem)
    check_output_folder(args.out)
    return args


def main() -> None:
    args = parse_args()
    from projects.ila.cli import exit_on_bad_input, load_overridden_config
    from projects.ila.utils import find_device
    from projects.ila.visualization import pictures, run_model
    cfg = load_overridden_config(args)
    with exit_on_bad_input():
        sample = pictures.load_view(cfg, args.video, args.view)
        model = pictures.load_model(cfg, args.checkpoint,
                                    find_device(args.device))
        pictures.check_layers(args.layers, model.backbone)
        found = run_model(model, sample)
        prediction = pictures.describe(model.cls_head, found['scores'],
                                       args.classes)

    # Neither terminals nor pictures can show a name that is not UTF-8.
    sys.stdout.reconfigure(errors='backslashreplace')
    name = Path(args.video).name.encode(errors='backslashreplace').decode()
    title = f'{name}: {prediction}'
    if args.view is not None:
        title += f' (view {args.view})'
    print(title)
    try:
        for line in pictures.write_pictures(args.out, sample, found, model,
                                            title, args.layers, args.fps):
            print(line)
    except OSError as error:
        sys.exit(f'cannot write pictures to {args.out}: {error}. Please '
                 'choose another --out')


if __name__ == '__main__':
    main()
