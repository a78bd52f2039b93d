"""Make the lists of a data set of videos, and the names of its classes.

The classes are the folders in FOLDER, whose names get blanks for underscores,
or come from --annotations: a CSV file whose first line names its columns, or a
JSON file with a list of objects, both with `path` and `label`, or a JSON
object of labels by path. Kinetics' CSV files and Something-Something v2's JSON
files are understood as they are. Labels are names, or numbers from 0.

A fraction of each class is drawn for validation, unless FOLDER has `train` and
`val` with the classes' folders, or two folders or two files are given, the one
for training first. Names of classes are in natural order: digits count as
numbers, capitals come first.
"""
import argparse
import os
import shlex
import sys
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Iterable, List, Sequence, Tuple

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tools'))

from cli import check_outputs, exit_on_bad_input  # noqa: E402
from mmengine.config import DictAction  # noqa: E402

from projects.ila.datasets import annotations  # noqa: E402
from projects.ila.datasets import dataset_building as building  # noqa: E402
from projects.ila.datasets.annotations import Entry  # noqa: E402
from projects.ila.datasets.search import natural_key  # noqa: E402
from projects.ila.utils import split_lines  # noqa: E402


def read_parts(args: argparse.Namespace) -> List[Tuple[str, List[Entry]]]:
    """Read one part, to be split, or two, each with its data prefix."""
    folders = args.folders
    if args.annotations:
        prefixes = folders * (len(args.annotations) // len(folders))
        return [(prefix, building.read_annotations(file, args.path, prefix))
                for file, prefix in zip(args.annotations, prefixes)]
    splits = [Path(folders[0], split) for split in building.SPLITS]
    if len(folders) == 1 and all(
            any(x.is_dir() for x in split.glob('*')) for split in splits):
        return [(folders[0], building.read_class_folders(str(split)))
                for split in splits]
    return [(folder, building.read_class_folders(folder))
            for folder in folders]


def drop_unusable(parts: Iterable[List[Entry]],
                  skip_missing: bool) -> List[List[Entry]]:
    """Leave out repeated lines and, by choice, videos that are not there."""
    entries = [*chain(*parts)]
    missing = [x for x in entries if not os.path.isfile(x.path)]
    repeats = annotations.find_repeats(entries, {})
    for kind, entry, reason in repeats:
        if kind != 'duplicate':
            raise ValueError(f"{entry.place}: '{entry.path}', {kind}: "
                             f'{reason}; remove one of them')
    if missing and not skip_missing:
        raise ValueError(
            f"{missing[0].place}: '{missing[0].path}' does not exist, one of "
            f'{len(missing)} missing files of {len(entries)}; mend the paths, '
            'give --path, or leave them out with --skip-missing')
    for kind, left_out in (('missing', missing), ('repeated', repeats)):
        if left_out:
            print(f'{len(left_out)} {kind} videos are left out')
    bad = {*missing, *(problem.entry for problem in repeats)}
    parts = [[entry for entry in part if entry not in bad] for part in parts]
    if not all(parts):
        raise ValueError(f"not one video is there, '{missing[0].path}' is the "
                         'first that is missing; mend the paths or give '
                         '--path')
    return parts


def format_list(entries: List[Entry], prefix: str) -> str:
    """Write the lines of a list, and see that a training can read them."""
    entries = sorted(entries, key=lambda x: (x.label, natural_key(x.path)))
    text = ''.join(f'{os.path.relpath(x.path, prefix)} {x.label}\n'
                   for x in entries)
    read, _ = annotations.parse_list(split_lines(text), 'list', prefix)
    read = {(entry.path, entry.label) for entry in read}
    for entry in entries:
        if (entry.path, entry.label) not in read:
            raise ValueError(
                f'{entry.path!r} cannot stand in a list, since it begins or '
                'ends with a blank or has a line break; rename the file')
    return text


def is_option(value: str) -> bool:
    """Whether ``--cfg-options`` takes a value as it is."""
    try:
        return DictAction._parse_iterable(value) == value
    except AssertionError:  # brackets
        return False


def print_commands(files: List[str], prefixes: Sequence[str]) -> None:
    """Print how to check the data set and how to train on it."""
    train, val, class_names = files
    check = [
        ROOT / 'tools/data/check_videos.py', val, train, '--data-prefix',
        *reversed(prefixes), '--class-names', class_names
    ]
    train = [
        ROOT / 'tools/train.py', ROOT / 'configs/ila_vitb16_custom.py',
        '--cfg-options', f'model.cls_head.class_names={class_names}'
    ]
    for split, part in (('train', 0), ('val', 1), ('test', 1)):
        dataset = f'{split}_dataloader.dataset'
        train += [
            f'{dataset}.ann_file={files[part]}',
            f'{dataset}.data_prefix.video={prefixes[part]}'
        ]
    commands = [check]
    if all(map(is_option, [*files, *prefixes])):
        commands.append(train)
    else:
        print('For a training rename the folder, whose path --cfg-options do '
              'not take,\nor write the paths into a copy of '
              'configs/ila_vitb16_custom.py.')
    for command in commands:
        words = ['python']
        for word in command:
            word = os.path.relpath(word) if isinstance(word, Path) else word
            starts = word.startswith('--') or '=' in word
            words.append('\\\n    ' * starts + shlex.quote(word))
        print(' '.join(words))
    print('The training starts from checkpoints/ViT-B-16.pt, or load_from='
          'FILE. Where left and\nright are different classes, add '
          'train_dataloader.dataset.mirror=False')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        'folders',
        nargs='+',
        metavar='FOLDER',
        help='what the paths of the lists are relative to; one for training '
        'and one for validation if there are two')
    parser.add_argument(
        '--annotations',
        nargs='+',
        metavar='FILE',
        help='CSV or JSON, one file or one for training and one for validation'
    )
    parser.add_argument(
        '--path',
        help='how a path is made of the columns or fields of --annotations, '
        "such as '{label}/{id}.mp4'")
    parser.add_argument(
        '--class-names',
        help="names in the order of the labels: 'kinetics400', a file with "
        'one per line or a JSON object of labels by name. Classes without '
        'videos are then allowed')
    parser.add_argument(
        '--skip-missing',
        action='store_true',
        help='leave out videos of --annotations that are not there')
    parser.add_argument('--val-fraction', type=float, default=0.2)
    parser.add_argument('--seed', type=int, default=0, help='of the drawing')
    parser.add_argument(
        '--out',
        help='folder for the lists; by default FOLDER, or where the first of '
        'two is')
    parser.add_argument(
        '--list-name', default='{split}_list.txt', help='name of the lists')
    parser.add_argument(
        '--force', action='store_true', help='replace lists that are there')
    args = parser.parse_args()
    counts = len(args.folders), len(args.annotations or args.folders)
    if counts not in ((1, 1), (1, 2), (2, 2)):
        parser.error('give one FOLDER or two, and with --annotations as many '
                     'files, or one FOLDER and two files')
    if not 0 < args.val_fraction < 1:
        parser.error('--val-fraction must be between 0 and 1')
    if '{split}' not in args.list_name:
        parser.error("--list-name needs '{split}' in it")
    return args


def main() -> None:
    args = parse_args()
    sys.stdout.reconfigure(errors='backslashreplace')  # For odd file names.
    folder = Path(args.folders[0])
    out = args.out or str(folder if len(args.folders) == 1 else folder.parent)
    files = [
        os.path.join(out, args.list_name.replace('{split}', split))
        for split in building.SPLITS
    ]
    files.append(os.path.join(out, 'class_names.txt'))
    there = [file for file in files if os.path.exists(file)]
    if there and not args.force:
        sys.exit(f'{there[0]} is there already; give another --out or replace '
                 'it with --force')
    if args.out:
        check_outputs(*files)
    with exit_on_bad_input():
        names = args.class_names and building.read_class_names(
            args.class_names)
        prefixes, parts = zip(*read_parts(args))
        names, index = building.number_labels([*chain(*parts)], names,
                                              bool(args.annotations))
        parts = [[entry._replace(label=index[entry.label]) for entry in part]
                 for part in drop_unusable(parts, args.skip_missing)]
        building.check_counts(parts, names, bool(args.class_names))
        if len(parts) == 1:
            prefixes *= 2
            parts = building.draw_split(parts[0], args.val_fraction, args.seed)
        texts = [*map(format_list, parts, prefixes)]
        texts.append(''.join(f'{name}\n' for name in names))
        annotations.write_files(dict(zip(files, texts)))

    counts = [Counter(entry.label for entry in part) for part in parts]
    width = max(map(len, names)) + 5
    print(f"{'class':{width}} {'train':>8} {'val':>8}")
    for number, name in enumerate(names):
        train, val = (count[number] for count in counts)
        print(f'{number:4} {name:{width - 5}} {train:8} {val:8}')
    train, val = map(len, parts)
    print(f"{'all':{width}} {train:8} {val:8}")
    if all(map(str.isdecimal, names)):
        print('give --class-names to train a text head: now they are numbers')
    print(f"written: {', '.join(files)}", end='\n\n')
    print_commands(files, prefixes)


if __name__ == '__main__':
    main()
