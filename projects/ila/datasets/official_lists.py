"""Lists of data sets from the annotations that their authors publish.

Labels are the same as in the official files and in MMAction2's lists.
"""
import json
import os
import re
from typing import (Callable, Dict, Iterator, List, NamedTuple, Optional,
                    Sequence, Tuple)

from ..models.text import load_class_names
from ..utils import read_lines, read_text
from .annotations import Entry
from .dataset_building import SPLITS, read_records
from .dataset_lists import (drop_unusable, find_absent, format_list,
                            report_absent)

# Names of the classes, and for each split the videos for training and for
# validation. Paths are relative to the folder of the videos.
Annotations = Tuple[List[str], List[Tuple[List[Entry], List[Entry]]]]


def _missing(file: str, error: Exception) -> ValueError:
    return ValueError(f"'{file}' cannot be read ({error}); put the data set's "
                      'annotations there, or give their folder with '
                      '--annotations')


def _read_rows(file: str, pattern: str,
               example: str) -> Iterator[Tuple[int, re.Match]]:
    """Match the lines of a file that are not empty, numbered from 1."""
    try:
        lines = read_lines(file)
    except OSError as error:
        raise _missing(file, error) from error
    for number, line in enumerate(map(str.strip, lines), 1):
        match = re.fullmatch(pattern, line)
        if match:
            yield number, match
        elif line:
            raise ValueError(f"{file}:{number}: '{line}' is not like "
                             f"'{example}'; fix that line or download the "
                             'file again')


def _find_label(labels: Dict[str, int], name: str, place: str,
                source: str) -> int:
    if name not in labels:
        raise ValueError(f"{place}: '{name}' is none of the {len(labels)} "
                         f"classes of '{source}'; fix one of the two files")
    return labels[name]


def _check_classes(entries: List[Entry], names: Sequence[str],
                   file: str) -> None:
    """Refuse a file that lacks a class, because it may be truncated."""
    absent = find_absent(entries, names)
    if absent:
        raise ValueError(f"'{file}' has no video of class '{absent[0]}'; "
                         'download it again')


def read_ucf101(folder: str) -> Annotations:
    """Read ``classInd.txt``, ``trainlist0*.txt`` and ``testlist0*.txt``."""
    index = os.path.join(folder, 'classInd.txt')
    labels = {}
    for number, row in _read_rows(index, r'(\d+)\s+(\w+)', '1 ApplyEyeMakeup'):
        if int(row[1]) != len(labels) + 1 or row[2] in labels:
            raise ValueError(f"{index}:{number}: '{row[0]}' is not class "
                             f'{len(labels) + 1}; number the classes from 1')
        labels[row[2]] = len(labels)

    def read(name: str) -> List[Entry]:
        file, entries = os.path.join(folder, name), []
        for number, row in _read_rows(
                file, r'((\w+)/.*?\.\w+)(\s+\d+)?',
                'ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1'):
            place = f'{file}:{number}'
            label = _find_label(labels, row[2], place, index)
            if row[3] and int(row[3]) != label + 1:
                raise ValueError(f"{place}: '{row[2]}' has number "
                                 f"{row[3].strip()}, but {label + 1} in "
                                 f"'{index}'; fix one of the two files")
            entries.append(Entry(file, number, row[1], label))
        if entries:
            _check_classes(entries, [*labels], file)
        return entries

    names = [
        re.sub('(?<=[a-z])(?=[A-Z])', ' ', name).lower() for name in labels
    ]
    return names, [(read(f'trainlist{split:02}.txt'),
                    read(f'testlist{split:02}.txt')) for split in (1, 2, 3)]


def read_hmdb51(folder: str) -> Annotations:
    """Read ``CLASS_test_split*.txt``, where 1 is training and 2 is test."""
    try:
        files = os.listdir(folder)
    except OSError as error:
        raise _missing(folder, error) from error
    matches = (re.fullmatch(r'(.+)_test_split1\.txt', x) for x in files)
    classes = sorted(match[1] for match in matches if match)
    if not classes:
        raise _missing(
            os.path.join(folder, 'brush_hair_test_split1.txt'),
            FileNotFoundError('there is no such file'))
    splits = []
    for split in (1, 2, 3):
        parts = {'1': [], '2': []}
        for label, name in enumerate(classes):
            file = os.path.join(folder, f'{name}_test_split{split}.txt')
            for number, row in _read_rows(
                    file, r'(.*?\.\w+)\s+([012])',
                    'April_09_brush_hair_u_nm_np1_ba_goo_0.avi 1'):
                if row[2] != '0':  # Not in this split.
                    parts[row[2]].append(
                        Entry(file, number, f'{name}/{row[1]}', label))
        for part in parts.values():
            _check_classes(part, classes, f'{folder}/*_test_split{split}.txt')
        splits.append((parts['1'], parts['2']))
    return [name.replace('_', ' ') for name in classes], splits


def _describe_dive(codes: List[str]) -> str:
    """Write out a dive, such as ``['Back', '15som', '05Twis', 'FREE']``."""
    words = []
    if not isinstance(codes, list):
        raise TypeError(f'{codes!r} is no list')
    for code in codes:
        match = re.fullmatch(r'(\d+)(som|Twis)', code)
        if match:
            number = '.'.join(match[1])  # Tenths follow the first digit.
            noun = dict(som='somersault', Twis='twist')[match[2]]
            code = f"{number} {noun}{'s' * (number != '1')}"
        words.append(code.replace('NoTwis', 'no twist').lower())
    return ' '.join(words)


def read_diving48(folder: str) -> Annotations:
    """Read ``Diving48_vocab.json`` and ``Diving48_V2_*.json``."""
    index = os.path.join(folder, 'Diving48_vocab.json')
    try:
        names = [
            _describe_dive(codes) for codes in json.loads(read_text(index))
        ]
    except OSError as error:
        raise _missing(index, error) from error
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"'{index}' is not a list of lists of words ({error}); "
            'download it again') from error

    def read(name: str) -> List[Entry]:
        file, entries = os.path.join(folder, name), []
        for number, record in read_records(file):
            video, label = record.get('vid_name'), record.get('label')
            if not video or type(label) is not int or not (0 <= label <
                                                           len(names)):
                raise ValueError(
                    f'{file}:{number}: `vid_name` is {video!r} and `label` '
                    f'{label!r}, not a name and a number below {len(names)}; '
                    'fix that entry or download the file again')
            entries.append(Entry(file, number, f'{video}.mp4', label))
        return entries

    return names, [(read('Diving48_V2_train.json'),
                    read('Diving48_V2_test.json'))]


def read_jester(folder: str) -> Annotations:
    """Read ``jester-v1-*.csv``; each video is a folder of frames."""
    index = os.path.join(folder, 'jester-v1-labels.csv')
    names = [row[0] for _, row in _read_rows(index, '.+', 'Swiping Left')]
    labels = {name: label for label, name in enumerate(names)}

    def read(name: str) -> List[Entry]:
        file = os.path.join(folder, name)
        return [
            Entry(file, number, row[1],
                  _find_label(labels, row[2], f'{file}:{number}', index))
            for number, row in _read_rows(file, r'([^;\s]+);([^;]+)',
                                          '34870;Drumming Fingers')
        ]

    return names, [(read('jester-v1-train.csv'),
                    read('jester-v1-validation.csv'))]


def read_charades(folder: str) -> Annotations:
    """Read ``Charades_v1_*``; a label has all actions of the whole video.

    Videos without an action are left out, as the official evaluation does.
    """
    index = os.path.join(folder, 'Charades_v1_classes.txt')
    names, labels = [], {}
    for number, row in _read_rows(index, r'(c\d+)\s+(.+)', 'c000 Holding some '
                                  'clothes'):
        if row[1] in labels:
            raise ValueError(f"{index}:{number}: '{row[1]}' occurs twice; fix "
                             'that line or download the file again')
        labels[row[1]] = len(names)
        names.append(row[2])

    def read(name: str) -> List[Entry]:
        file, entries = os.path.join(folder, name), []
        for number, record in read_records(file):
            place, label = f'{file}:{number}', set()
            if not record.get('id') or 'actions' not in record:
                raise ValueError(f'{place}: `id` or `actions` is missing; fix '
                                 'that line or download the file again')
            for action in filter(None, record['actions'].split(';')):
                if not re.fullmatch(r'c\d+( \d+(\.\d+)?){2}', action):
                    raise ValueError(f"{place}: action '{action}' is not like "
                                     "'c092 11.90 21.20'; fix that line")
                label.add(_find_label(labels, action.split()[0], place, index))
            if label:
                entries.append(
                    Entry(file, number, f"{record['id']}.mp4",
                          tuple(sorted(label))))
        return entries

    return names, [(read('Charades_v1_train.csv'),
                    read('Charades_v1_test.csv'))]


class Source(NamedTuple):
    """How a data set is read, and MMAction2's names of its lists.

    ``template`` is set if a video is a folder of frames, and names these.
    """
    read: Callable[[str], Annotations]
    name: str
    num_splits: int = 1
    template: Optional[str] = None


SOURCES = dict(
    ucf101=Source(read_ucf101, 'ucf101_{part}_split_{split}_videos.txt', 3),
    hmdb51=Source(read_hmdb51, 'hmdb51_{part}_split_{split}_videos.txt', 3),
    diving48=Source(read_diving48, 'diving48_{part}_list_videos.txt'),
    jester=Source(
        read_jester, 'jester_{part}_list_rawframes.txt', template='{:05}.jpg'),
    charades=Source(read_charades, 'charades_{part}_list_videos.txt'))


def name_lists(dataset: str) -> List[Tuple[str, ...]]:
    """Name the lists for training and validation of each split."""
    source = SOURCES[dataset]
    return [
        tuple(source.name.format(part=part, split=split) for part in SPLITS)
        for split in range(1, source.num_splits + 1)
    ]


def _locate(entry: Entry, folder: str) -> Entry:
    """Find an entry's file, which may have been converted to MP4."""
    path = os.path.normpath(os.path.join(folder, entry.path))
    stem, suffix = os.path.splitext(path)
    if suffix and not os.path.exists(path) and os.path.exists(f'{stem}.mp4'):
        path = f'{stem}.mp4'
    return entry._replace(path=path)


def make_lists(dataset: str,
               folder: str,
               annotations: str,
               skip_missing: bool = False) -> Dict[str, str]:
    """Make the lists of a data set and its ``class_names.txt``.

    Args:
        dataset (str): One of :data:`SOURCES`.
        folder (str): Folder of the videos.
        annotations (str): Folder of the official files.
        skip_missing (bool): Whether to leave out videos that do not exist.

    Returns:
        dict[str, str]: Contents by file name, in pairs for training and
        validation; the class names come last.

    Raises:
        ValueError: A file is wrong, or a video is missing.
    """
    source = SOURCES[dataset]
    names, splits = source.read(annotations)
    names = load_class_names(names)
    texts = {}
    for files, parts in zip(name_lists(dataset), splits):
        if not all(parts):
            raise ValueError(f"'{annotations}' has no video for "
                             f"'{files[not parts[1]]}'; download the files "
                             'again')
        parts = drop_unusable([[_locate(entry, folder) for entry in part]
                               for part in parts], skip_missing,
                              f"put the videos into '{folder}'")
        for file, part in zip(files, parts):
            report_absent(file, part, names)
            texts[file] = format_list(part, folder, source.template)
    texts['class_names.txt'] = ''.join(f'{name}\n' for name in names)
    return texts
