"""Copy videos so that a training takes less time to decode them.

The copies are H.264 with the same frames, scaled down to --short-side, with a
key frame every few frames and without features that make decoding slow. They
have the same names below OUT; extensions of containers that cannot hold them
become .mp4. Existing copies are kept, so that the tool can be stopped and run
again. The exit code is 1 if a video cannot be copied.
"""
import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from arguments import check_output_folder, exit_on_sigterm  # noqa: E402


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('folder', metavar='FOLDER', help='folder of videos')
    parser.add_argument('--out', required=True, help='folder for the copies')
    parser.add_argument(
        '--short-side',
        type=int,
        default=256,
        help='short side in pixels; smaller videos keep their size; default: '
        '%(default)s')
    parser.add_argument(
        '--gop',
        type=int,
        default=12,
        help='frames from one key frame to the next; fewer make decoding '
        'faster and files larger; default: %(default)s')
    parser.add_argument(
        '--crf',
        type=int,
        default=20,
        help='quality of x264, from 0, the best, to 51; default: %(default)s')
    parser.add_argument(
        '--workers',
        type=int,
        default=os.cpu_count(),
        help='number of processes; default: one per CPU core')
    args = parser.parse_args()
    if args.short_side < 2 or args.gop < 1 or args.workers < 1:
        parser.error('--short-side must be at least 2, --gop and --workers at '
                     'least 1')
    if not 0 <= args.crf <= 51:
        parser.error('--crf must be from 0 to 51')
    return args


def main() -> None:
    args = parse_args()
    sys.stdout.reconfigure(errors='backslashreplace')  # For odd file names.
    check_output_folder(args.out)
    exit_on_sigterm()
    from mmengine.utils import ProgressBar

    from projects.ila.cli import exit_on_bad_input
    from projects.ila.datasets import video_resizing as resizing
    settings = resizing.Settings(args.short_side, args.gop, args.crf)
    failures, done, code = [], 0, 0
    with exit_on_bad_input():
        copies = resizing.plan(args.folder, args.out)
        progress = ProgressBar(len(copies), file=sys.stderr)
        try:
            for path, reason in resizing.resize_videos(copies, settings,
                                                       args.workers):
                failures += [(path, reason)] if reason else []
                done += not reason
                progress.update()
        except KeyboardInterrupt:
            code = 130
    print(file=sys.stderr)
    print(f'{done} of {len(copies)} videos are in {args.out}')
    for path, reason in failures:
        print(f'{path}: {reason}')
    sys.exit(code or bool(failures))


if __name__ == '__main__':
    main()
