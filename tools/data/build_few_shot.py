"""Draw a few videos per class from a training list.

Each combination of --shots and --seeds gives one list, next to TRAIN_LIST.
With the same seed, a list with more shots contains the videos of one with
fewer.

With --base-to-novel, the classes are halved as in ViFi-CLIP: the half with
more videos in TRAIN_LIST, the base classes, is for training; the other half,
the novel classes, is for the test only. Both halves get labels from 0, and
their own validation lists and class names.
"""
import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

# yapf: disable
from arguments import (check_absent, check_inputs_stay,  # noqa: E402
                       check_output_folder)

# yapf: enable


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        'train_list', metavar='TRAIN_LIST', help='the whole training list')
    parser.add_argument(
        '--shots',
        type=int,
        nargs='+',
        default=[2, 4, 8, 16],
        help='videos per class; default: 2 4 8 16')
    parser.add_argument(
        '--seeds',
        type=int,
        nargs='+',
        default=[0],
        help='seeds of the random draws; default: 0')
    parser.add_argument(
        '--base-to-novel',
        metavar='VAL_LIST',
        help='halve the classes, also in this validation list')
    parser.add_argument(
        '--classes',
        help="for --base-to-novel: 'kinetics400' or a file with one name per "
        'line')
    parser.add_argument(
        '--out', help='folder for the lists; default: that of TRAIN_LIST')
    parser.add_argument(
        '--force', action='store_true', help='replace lists that exist')
    args = parser.parse_args()
    if min(args.shots) < 1 or min(args.seeds) < 0:
        parser.error('--shots must be at least 1 and --seeds at least 0')
    if bool(args.base_to_novel) != bool(args.classes):
        parser.error('--base-to-novel and --classes need each other')
    return args


def main() -> None:
    args = parse_args()
    out = args.out or os.path.dirname(args.train_list)
    check_output_folder(out)
    from projects.ila.cli import exit_on_bad_input
    from projects.ila.datasets import few_shot
    from projects.ila.datasets.annotations import write_files
    from projects.ila.models.text import load_class_names

    def name(source: str, end: str) -> str:
        return os.path.join(out, f'{Path(source).stem}_{end}.txt')

    texts, base = {}, ''
    with exit_on_bad_input():
        names = args.classes and load_class_names(args.classes)
        train = few_shot.read_labels(args.train_list, names and len(names))
        if names:
            val = few_shot.read_labels(args.base_to_novel, len(names))
            halves = few_shot.halve_classes(train, len(names))
            for kind, labels in zip(('base', 'novel'), halves):
                texts[name('class_names', kind)] = ''.join(f'{names[label]}\n'
                                                           for label in labels)
                texts[name(args.base_to_novel, kind)] = few_shot.format_lines(
                    few_shot.select_classes(val, labels))
            train, base = few_shot.select_classes(train, halves[0]), 'base_'
        for seed in args.seeds:
            for shots in args.shots:
                file = name(args.train_list, f'{base}{shots}shot_seed{seed}')
                texts[file] = few_shot.format_lines(
                    few_shot.draw_shots(train, shots, seed))
        check_absent([*texts], args.force)
        for file, text in texts.items():
            if not text:
                raise ValueError(f"'{file}' would be empty; give lists of all "
                                 'classes, which are two or more')
        check_inputs_stay(texts,
                          [args.train_list, args.base_to_novel, args.classes])
        write_files(texts)
    for file, text in texts.items():
        print(f'{text.count(chr(10)):6} lines in {file}')


if __name__ == '__main__':
    main()
