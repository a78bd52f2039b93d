"""Find the videos and the lines of lists that a training would stumble over.

Each file is read and decoded to its end, as for a training. Of files with the
same content the first one is good: name the list first that is to keep its
videos. The exit code is 1 if anything is found.
"""
import argparse
import csv
import io
import os
import sys
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import List, Optional, Sequence, Tuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli import check_outputs, exit_on_bad_input, load_config  # noqa: E402

from projects.ila.datasets import video_check  # noqa: E402
from projects.ila.datasets import annotations, frame_folders  # noqa: E402
from projects.ila.datasets.annotations import Entry, Problem  # noqa: E402
from projects.ila.datasets.search import search_folder  # noqa: E402
from projects.ila.models.text import load_class_names  # noqa: E402


def read_source(source: str, prefix: str, num_classes: Optional[int],
                args: argparse.Namespace) -> Tuple[list, list, dict]:
    """Read a list or look into a folder, of videos or of folders of frames.

    Returns:
        tuple: The entries, the problems, and the template of the entries that
        are folders of frames by their paths.
    """
    template = args.filename_tmpl
    if os.path.isdir(source):
        folders = search_folder(source).frame_folders
        try:
            return annotations.read_folder(source), [], {}
        except ValueError:  # There is no video.
            if not folders:
                raise
        entries = [Entry(source, 0, path, None) for path in folders]
        return entries, [], dict.fromkeys(folders, template)
    lines = annotations.read_list(source)
    if not frame_folders.is_frame_list(lines, prefix):
        return *annotations.parse_list(lines, source, prefix, num_classes,
                                       args.multi_class), {}
    template = template or frame_folders.FRAME_TEMPLATE
    entries, problems = frame_folders.parse_frame_list(lines, source, prefix,
                                                       num_classes,
                                                       args.multi_class,
                                                       template)
    return entries, problems, dict.fromkeys((x.path for x in entries),
                                            template)


def get_labels(entry: Entry) -> Tuple[int, ...]:
    """Get the labels of an entry: none, one or several."""
    if entry.label is None:
        return ()
    return entry.label if isinstance(entry.label, tuple) else (entry.label, )


def load_pipeline(args: argparse.Namespace) -> Sequence[dict]:
    """Get the test pipeline of a config, or the default one."""
    if args.config is None:
        return video_check.PIPELINE
    dataset = load_config(args).get('test_dataloader', {}).get('dataset', {})
    return [dict(step) for step in dataset.get('pipeline', [])]


def drop(entries: List[Entry], problems: List[Problem]) -> List[Entry]:
    """Leave out the entries that have a problem."""
    bad = {problem.entry for problem in problems}
    return [entry for entry in entries if entry not in bad]


def find_unused(entries: List[Entry], source: str,
                num_classes: int) -> List[Problem]:
    """Find the classes of which a list has no entry."""
    used = {
        label
        for entry in entries if entry.source == source
        for label in get_labels(entry)
    }
    unused = (label for label in range(num_classes) if label not in used)
    number = num_classes - len(used)
    if not number:
        return []
    first = ', '.join(map(str, islice(unused, 10)))
    reason = f'{number} of {num_classes} classes have no good video: {first}'
    reason += ', ...' if number > 10 else ''
    return [Problem('classes unused', Entry(source, 0, '', None), reason)]


def format_csv(problems: List[Problem]) -> str:
    """Make a table, in which what is not UTF-8 in paths is escaped."""
    table = io.StringIO(newline='')
    writer = csv.writer(table, lineterminator='\n')
    writer.writerow(['kind', 'source', 'line', 'path', 'reason'])
    for kind, entry, reason in problems:
        writer.writerow(
            [kind, entry.source, entry.line or '', entry.path, reason])
    return table.getvalue().encode('utf-8', 'backslashreplace').decode()


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
        help="what the lists' paths are relative to, one folder or one per "
        'list; the folder of the list by default')
    parser.add_argument(
        '--class-names',
        help="'kinetics400' or a file with one name per line; labels up to "
        'the highest one by default')
    parser.add_argument(
        '--multi-class',
        action='store_true',
        help='videos may have several labels')
    parser.add_argument(
        '--filename-tmpl',
        help='names of frames; img_{:05}.jpg in lists and all images in '
        'folders by default')
    parser.set_defaults(cfg_options=None, allow_new_keys=False)
    parser.add_argument(
        '--config',
        help='config file whose test pipeline reads the videos; SafePyAVInit '
        'and SafePyAVDecode do by default')
    parser.add_argument('--min-frames', type=int, default=2)
    parser.add_argument('--workers', type=int, default=os.cpu_count())
    parser.add_argument(
        '--timeout', type=float, default=120, help='seconds for a file')
    parser.add_argument('--out', help='write what is found as CSV')
    parser.add_argument(
        '--write-list',
        nargs='+',
        help='write the good lines of each list to one of these files')
    args = parser.parse_args()

    if args.min_frames < 2 or args.workers < 1 or not args.timeout > 0:
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
    check_outputs(args.out, *args.write_list or [])
    return args


def main() -> None:
    args = parse_args()
    sys.stdout.reconfigure(errors='backslashreplace')  # For odd file names.
    entries, problems, frames = [], [], {}
    with exit_on_bad_input():
        num_classes = None
        if args.class_names:
            num_classes = len(load_class_names(args.class_names))
        for source, prefix in zip(args.sources, args.data_prefix):
            found = read_source(source, prefix, num_classes, args)
            entries += found[0]
            problems += found[1]
            frames.update(found[2])
        pipeline = load_pipeline(args)
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
    good = drop(entries, problems)
    problems += annotations.find_repeats(good, {
        path: result.content
        for path, result in results.items()
    })
    good = drop(good, problems)
    if num_classes is None:
        labels = [label for entry in entries for label in get_labels(entry)]
        num_classes = 1 + max(labels, default=-1)
    for source in args.sources:
        if not os.path.isdir(source) and not stopped:
            problems += find_unused(good, source, num_classes)

    kinds = Counter(problem.kind for problem in problems)
    for kind, number in [('good', len(good)), *kinds.items()]:
        print(f'{kind:20} {number:8}')
    for kind, entry, reason in problems:
        name = f'{entry.place} {entry.path}' if entry.line else entry.path
        print(f'{kind}: {name.strip() or entry.source}: {reason}')

    texts = {args.out: format_csv(problems)} if args.out else {}
    if stopped:
        with exit_on_bad_input():
            annotations.write_files(texts)
        print(f'stopped; {len(entries)} of them are checked', file=sys.stderr)
        sys.exit(130)
    for source, target in zip(args.sources, args.write_list or []):
        lines = [entry.text for entry in good if entry.source == source]
        if not lines:
            sys.exit(f"no line of '{source}' is good, '{target}' is not "
                     'written; mend the videos')
        texts[target] = '\n'.join(lines) + '\n'
    with exit_on_bad_input():
        annotations.write_files(texts)
    sys.exit(bool(problems))


if __name__ == '__main__':
    main()
