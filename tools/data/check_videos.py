"""Find videos and lines of lists that would fail in a training.

Each file is read and decoded to its end, as in a training. If several files
have the same content, only the first one is good: give the list that should
keep its videos first. The exit code is 1 if anything is found.
"""
import argparse
import os
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from arguments import check_outputs, existing_config  # noqa: E402


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'sources',
        nargs='+',
        metavar='LIST|FOLDER',
        help='lists of paths and labels, or folders, of videos or of folders '
        'of frames')
    parser.add_argument(
        '--data-prefix',
        nargs='+',
        help='folder that the paths of the lists are relative to, one for all '
        'or one per list; default: the folder of the list')
    parser.add_argument(
        '--classes',
        help="'kinetics400' or a file with one name per line; default: labels "
        'up to the highest one')
    parser.add_argument(
        '--multi-class',
        action='store_true',
        help='videos may have several labels')
    parser.add_argument(
        '--filename-tmpl',
        help='file names of frames; default: img_{:05}.jpg in lists, all '
        'images in folders')
    parser.add_argument(
        '--delimiter',
        type=lambda text: text.replace('\\t', '\t'),
        default=' ',
        help="separator of paths and labels, such as '\\t'; default: a space")
    parser.set_defaults(cfg_options=None, allow_new_keys=False)
    parser.add_argument(
        '--config',
        type=existing_config,
        help='config file whose test pipeline reads the videos; default: '
        'SafePyAVInit and SafePyAVDecode')
    parser.add_argument(
        '--min-frames',
        type=int,
        default=2,
        help='shorter videos are reported; default: %(default)s')
    parser.add_argument(
        '--workers',
        type=int,
        default=os.cpu_count(),
        help='number of processes; default: one per CPU core')
    parser.add_argument(
        '--timeout',
        type=float,
        default=120,
        help='largest number of seconds per file; default: %(default)s')
    parser.add_argument('--out', help='CSV file for the problems')
    parser.add_argument(
        '--write-list',
        nargs='+',
        help='write the good lines of each list to one of these files')
    args = parser.parse_args()

    if (args.min_frames < 2 or args.workers < 1 or not args.timeout > 0):
        parser.error('--min-frames must be at least 2, --workers at least 1 '
                     'and --timeout more than 0')
    if args.data_prefix is None:
        args.data_prefix = [os.path.dirname(source) for source in args.sources]
    elif len(args.data_prefix) == 1:
        args.data_prefix *= len(args.sources)
    for option, given in (('--data-prefix', args.data_prefix),
                          ('--write-list', args.write_list or args.sources)):
        if len(given) != len(args.sources):
            parser.error(f'{option} needs one value for each list')
    if args.write_list and any(map(os.path.isdir, args.sources)):
        parser.error('--write-list needs lists, not folders')
    if len(set(args.sources)) < len(args.sources):
        parser.error('give each list or folder once')
    outputs = [args.out] * bool(args.out) + (args.write_list or [])
    if len({*map(os.path.realpath, outputs)}) < len(outputs):
        parser.error('--out and --write-list name a file twice')
    check_outputs(*outputs)
    return args


def main() -> None:
    args = parse_args()
    sys.stdout.reconfigure(errors='backslashreplace')  # For odd file names.
    from projects.ila.cli import exit_on_bad_input, load_config
    from projects.ila.datasets import annotations
    from projects.ila.datasets import list_check as lists
    from projects.ila.datasets import video_check
    from projects.ila.datasets.annotations import Problem
    from projects.ila.models.text import load_class_names
    from projects.ila.utils.config_datasets import find_pipeline
    entries, problems, frames = [], [], {}
    with exit_on_bad_input():
        num_classes = None
        if args.classes:
            num_classes = len(load_class_names(args.classes))
        for source, prefix in zip(args.sources, args.data_prefix):
            found = lists.read_source(source, prefix, num_classes,
                                      args.multi_class, args.filename_tmpl,
                                      args.delimiter)
            entries += found[0]
            problems += found[1]
            frames.update(found[2])
        pipeline = video_check.PIPELINE
        if args.config:
            steps = find_pipeline(load_config(args), 'test')
            pipeline = [*map(dict, steps)]
        paths = [entry.path for entry in entries]
        results = video_check.check_videos(paths, args.min_frames,
                                           args.workers, args.timeout, frames,
                                           pipeline)
    checked = [x for x in entries if results[x.path].kind != 'not checked']
    stopped, entries = len(checked) < len(entries), checked
    for entry in entries:
        kind, reason, _ = results[entry.path]
        if kind:
            problems.append(Problem(kind, entry, reason))
    good = lists.drop(entries, problems)
    problems += annotations.find_repeats(good, {
        path: result.content
        for path, result in results.items()
    })
    good = lists.drop(good, problems)
    if num_classes is None:
        labels = [label for entry in entries for label in entry.labels]
        num_classes = 1 + max(labels, default=-1)
    for source in args.sources:
        if not os.path.isdir(source) and not stopped:
            problems += lists.find_unused(good, source, num_classes)

    kinds = Counter(problem.kind for problem in problems)
    for kind, number in [('good', len(good)), *kinds.items()]:
        print(f'{kind:20} {number:8}')
    for kind, entry, reason in problems:
        name = f'{entry.place} {entry.path}' if entry.line else entry.path
        print(f'{kind}: {name.strip() or entry.source}: {reason}')

    texts = {args.out: lists.format_csv(problems)} if args.out else {}
    if stopped:
        with exit_on_bad_input():
            annotations.write_files(texts)
        print(f'stopped; {len(entries)} of them are checked', file=sys.stderr)
        sys.exit(130)
    empty = []
    for source, target in zip(args.sources, args.write_list or []):
        lines = [entry.text for entry in good if entry.source == source]
        if lines:
            texts[target] = '\n'.join(lines) + '\n'
        else:
            empty.append(f"no line of '{source}' is good, '{target}' is not "
                         'written; fix the videos')
    with exit_on_bad_input():
        annotations.write_files(texts)
    sys.exit('\n'.join(empty) or bool(problems))


if __name__ == '__main__':
    main()
