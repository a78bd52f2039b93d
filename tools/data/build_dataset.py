"""Make the lists of a data set of videos, and the names of its classes.

Each folder in FOLDER is a class; underscores in its name become spaces.
Alternatively, --annotations gives the classes: a CSV file whose first line
names its columns, or a JSON file with a list of objects, both with `path` and
`label`, or a JSON object of labels by path. The CSV files of Kinetics and the
JSON files of Something-Something v2 work directly. Labels are names, or
numbers from 0.

A fraction of each class is drawn for validation, unless FOLDER contains
`train` and `val` with the folders of the classes, or two folders or two files
are given, with the one for training first. Names of classes are in natural
order: digits count as numbers, capitals come first.

With --dataset, the lists are made from the files that its authors publish.
They are in the folder `annotations` next to FOLDER, or in --annotations.
"""
import argparse
import os
import shlex
import sys
from collections import Counter
from functools import reduce
from itertools import chain
from operator import getitem
from pathlib import Path
from typing import List, Sequence

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

# yapf: disable
from arguments import (ROOT, check_absent, check_inputs_stay,  # noqa: E402
                       check_outputs)

# yapf: enable

SPLITS = ('train', 'val')
# Data sets whose official files are read, and their configs.
CONFIGS = dict(
    ucf101='ila_vitb16_ucf101',
    hmdb51='ila_vitb16_hmdb51',
    diving48='ila_vitb16_32f_diving48',
    jester='ila_vitb16_jester',
    charades='ila_vitb16_32f_charades')


def is_option(value: str) -> bool:
    """Whether ``--cfg-options`` accepts a value unchanged."""
    from mmengine.config import DictAction
    try:
        return DictAction._parse_iterable(value) == value
    except AssertionError:  # brackets
        return False


def print_command(command: Sequence[object]) -> None:
    """Print a Python command, with paths relative to the working directory."""
    words = ['python']
    for word in command:
        word = os.path.relpath(word) if isinstance(word, Path) else word
        starts = word.startswith('--') or '=' in word
        words.append('\\\n    ' * starts + shlex.quote(word))
    print(' '.join(words))


def print_commands(files: List[str], prefixes: Sequence[str]) -> None:
    """Print how to check the data set and how to train on it."""
    from mmengine.config import Config
    train, val, class_names = files
    check = [
        ROOT / 'tools/data/check_videos.py', val, train, '--data-prefix',
        *reversed(prefixes), '--classes', class_names
    ]
    settings = {'model.cls_head.class_names': class_names}
    for split, part in (('train', 0), ('val', 1), ('test', 1)):
        dataset = f'{split}_dataloader.dataset'
        settings[f'{dataset}.ann_file'] = files[part]
        settings[f'{dataset}.data_prefix.video'] = prefixes[part]
    config = ROOT / 'configs/ila_vitb16_custom.py'
    own = Config.fromfile(config)
    options = [
        f'{key}={value}' for key, value in settings.items()
        if reduce(getitem, key.split('.'), own) != value
    ]
    train = [ROOT / 'tools/train.py', config]
    if options:
        train += ['--cfg-options', *options]
    commands = [check]
    if all(map(is_option, [*files, *prefixes])):
        commands.append(train)
    else:
        print('For a training rename the folder, whose path --cfg-options do '
              'not take,\nor write the paths into a copy of '
              'configs/ila_vitb16_custom.py.')
    for command in commands:
        print_command(command)
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
        help='folder that the paths of the lists are relative to; or two, for '
        'training and for validation')
    parser.add_argument(
        '--dataset',
        choices=[*CONFIGS],
        help='make all lists of this data set, with the names of MMAction2')
    parser.add_argument(
        '--annotations',
        nargs='+',
        metavar='FILE',
        help='CSV or JSON: one file, or one for training and one for '
        'validation; with --dataset, the folder of the official files')
    parser.add_argument(
        '--path',
        help='format of a path from the columns or fields of --annotations, '
        "such as '{label}/{id}.mp4'")
    parser.add_argument(
        '--classes',
        help="names in the order of the labels: 'kinetics400', a file with "
        'one per line or a JSON object of labels by name. Classes without '
        'videos are then allowed')
    parser.add_argument(
        '--skip-missing',
        action='store_true',
        help='leave out videos of the annotations that do not exist')
    parser.add_argument(
        '--val-fraction',
        type=float,
        default=0.2,
        help='fraction of each class for validation; default: %(default)s')
    parser.add_argument(
        '--seed',
        type=int,
        default=0,
        help='seed of the random split; default: %(default)s')
    parser.add_argument(
        '--out',
        help='folder for the lists; default: FOLDER, or, with two folders or '
        '--dataset, the parent of the first')
    parser.add_argument(
        '--list-name',
        default='{split}_list.txt',
        help='name of the lists, with {split} for train and val; default: '
        '%(default)s')
    parser.add_argument(
        '--force', action='store_true', help='replace lists that exist')
    args = parser.parse_args()
    counts = len(args.folders), len(args.annotations or args.folders)
    others = 'path', 'classes', 'val_fraction', 'seed', 'list_name'
    if args.dataset and (counts != (1, 1) or any(
            getattr(args, x) != parser.get_default(x) for x in others)):
        parser.error('--dataset takes one FOLDER, one folder of --annotations '
                     'and none of --path, --classes, --val-fraction, '
                     '--seed and --list-name')
    if counts not in ((1, 1), (1, 2), (2, 2)):
        parser.error('give one FOLDER or two, and with --annotations as many '
                     'files, or one FOLDER and two files')
    sources = [*map(os.path.realpath, args.annotations or args.folders)]
    if len({*sources}) < len(sources):
        parser.error('training and validation have the same source, '
                     f'{sources[0]}; give another, or one to be split')
    if not 0 < args.val_fraction < 1:
        parser.error('--val-fraction must be between 0 and 1')
    if '{split}' not in args.list_name:
        parser.error("--list-name needs '{split}' in it")
    return args


def build_official(args: argparse.Namespace) -> None:
    """Make the lists of --dataset."""
    folder = os.path.normpath(args.folders[0])
    out = args.out or os.path.dirname(folder) or os.curdir
    source, = args.annotations or [
        os.path.join(os.path.dirname(folder), 'annotations')
    ]
    from projects.ila.cli import exit_on_bad_input
    from projects.ila.datasets import official_lists
    from projects.ila.datasets.annotations import write_files
    pairs = [[os.path.join(out, name) for name in names]
             for names in official_lists.name_lists(args.dataset)]
    class_names = os.path.join(out, 'class_names.txt')
    check_absent([*chain(*pairs), class_names], args.force)
    check_outputs(class_names)
    with exit_on_bad_input():
        texts = official_lists.make_lists(args.dataset, folder, source,
                                          args.skip_missing)
        files = {os.path.join(out, name): texts[name] for name in texts}
        write_files(files)
    for file, text in files.items():
        print(f'{text.count(chr(10)):6} lines in {file}')
    print()
    train, val = pairs[0]
    template = official_lists.SOURCES[args.dataset].template
    print_command([
        ROOT / 'tools/data/check_videos.py', val, train, '--data-prefix',
        folder, '--classes', class_names,
        *['--multi-class'] * (args.dataset == 'charades'),
        *['--filename-tmpl', template][:2 * bool(template)]
    ])
    print_command([ROOT / 'tools/train.py', CONFIGS[args.dataset]])
    print(f'The config expects {os.path.basename(folder)}/ and the lists in '
          f'data/{args.dataset}/. The training starts\nfrom '
          'checkpoints/ViT-B-16.pt, or load_from=FILE.')


def main() -> None:
    args = parse_args()
    sys.stdout.reconfigure(errors='backslashreplace')  # For odd file names.
    if args.dataset:
        build_official(args)
        return
    folder = Path(args.folders[0])
    out = args.out or str(folder if len(args.folders) == 1 else folder.parent)
    files = [
        os.path.join(out, args.list_name.replace('{split}', split))
        for split in SPLITS
    ]
    files.append(os.path.join(out, 'class_names.txt'))
    check_inputs_stay(files, [*(args.annotations or []), args.classes])
    check_absent(files, args.force)
    if args.out:
        check_outputs(*files)
    from projects.ila.cli import exit_on_bad_input
    from projects.ila.datasets import annotations
    from projects.ila.datasets import dataset_building as building
    from projects.ila.datasets import dataset_lists as lists
    with exit_on_bad_input():
        names = args.classes and building.read_class_names(args.classes)
        prefixes, parts = zip(
            *lists.read_parts(args.folders, args.annotations, args.path))
        names, index = building.number_labels([*chain(*parts)], names,
                                              bool(args.annotations))
        parts = [[entry._replace(label=index[entry.label]) for entry in part]
                 for part in lists.drop_unusable(parts, args.skip_missing)]
        building.check_counts(parts, names, bool(args.classes))
        if len(parts) == 1:
            prefixes *= 2
            parts = building.draw_split(parts[0], args.val_fraction, args.seed)
        parts = [*map(lists.sort_entries, parts)]
        texts = [*map(lists.format_list, parts, prefixes)]
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
        print('give --classes to train a text head: now they are numbers')
    print(f"written: {', '.join(files)}", end='\n\n')
    print_commands(files, prefixes)


if __name__ == '__main__':
    main()
