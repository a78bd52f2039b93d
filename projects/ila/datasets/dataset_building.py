"""Labelled videos from folders and annotation files of several formats."""
import csv
import io
import json
import os
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Tuple

import numpy as np

from ..models.text import load_class_names
from ..utils import find_undecodable, read_text
from .annotations import Entry
from .search import add_ending, list_videos, natural_key

SPLITS = ('train', 'val')

# Plain files, Kinetics and Something-Something v2.
_PATHS = ('{path}', '{youtube_id}_{time_start:0>6}_{time_end:0>6}.mp4',
          '{id}.webm')


def shorten(names: List[str]) -> str:
    """Join some names, and say how many more there are."""
    more = f' and {len(names) - 5} more' if len(names) > 5 else ''
    return ', '.join(map(repr, names[:5])) + more


def read_class_folders(folder: str) -> List[Entry]:
    """Find the videos of a folder with one subfolder per class.

    Labels are the names of the subfolders, with spaces for underscores.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: A subfolder has no video, a video is not directly in a
            subfolder, or two subfolders give the same label.
    """
    entries = []
    for path in list_videos(folder):
        name, _, rest = os.path.relpath(path, folder).partition(os.sep)
        if not rest or os.sep in rest:
            raise ValueError(f"'{path}' does not lie in a class's folder "
                             f"directly in '{folder}'; move it, or give "
                             '--annotations')
        entries.append(Entry(folder, 0, path, name))
    used = {entry.label for entry in entries}
    folders = {x.name for x in Path(folder).iterdir() if x.is_dir()}
    empty = sorted(x for x in folders - used if x[0] != '.')
    if empty:
        raise ValueError(f"folders {shorten(empty)} in '{folder}' hold no "
                         'video; fill or remove them')
    names = {x: ' '.join(x.replace('_', ' ').split()) for x in sorted(used)}
    for name, count in Counter(names.values()).items():
        if count > 1 or not name:
            same = [x for x in names if names[x] == name]
            raise ValueError(f"folders {shorten(same)} in '{folder}' would be "
                             f"class '{name}'; rename or join them")
    return [entry._replace(label=names[entry.label]) for entry in entries]


def _refuse_repeats(pairs: List[tuple]) -> dict:
    """Refuse repeated keys of a JSON object, which Python would overwrite."""
    for key, count in Counter(key for key, _ in pairs).items():
        if count > 1:
            raise ValueError(f"'{key}' occurs {count} times")
    return dict(pairs)


def read_records(file: str) -> Iterator[Tuple[int, dict]]:
    """Read the entries of a CSV or JSON file, with their line or number."""
    try:
        text = read_text(file, 'surrogateescape')
        if not file.lower().endswith('.json'):
            reader = csv.DictReader(io.StringIO(text, newline=''), strict=True)
            for record in reader:
                if None in record or None in record.values():
                    raise ValueError(f'line {reader.line_num} has not the '
                                     f'{len(reader.fieldnames)} columns '
                                     'of the first line')
                yield reader.line_num, record
            return
        data = json.loads(text, object_pairs_hook=_refuse_repeats)
    except (OSError, ValueError, csv.Error, RecursionError) as error:
        raise ValueError(f"'{file}' cannot be read as CSV or JSON: {error}; "
                         'fix or replace it') from error
    if isinstance(data, dict):
        data = [dict(path=path, label=data[path]) for path in data]
    if not isinstance(data, list) or any(type(x) is not dict for x in data):
        raise ValueError(
            f"'{file}' is neither a list of objects nor an object "
            'of labels by path; fix it')
    yield from enumerate(data, 1)


def read_annotations(file: str, path_format: Optional[str],
                     prefix: str) -> List[Entry]:
    """Read videos and labels, which are names or digits, from CSV or JSON.

    Args:
        file (str): The file.
        path_format (str, optional): Format string that makes a path from the
            fields of an entry. Defaults to the first of ``_PATHS`` that fits.
        prefix (str): Folder that the paths are relative to.

    Raises:
        ValueError: The file cannot be read, or one of its entries is wrong.
    """
    entries = []
    for number, record in read_records(file):
        label = record.get('template', record.get('label'))
        if type(label) not in (str, int):
            raise ValueError(
                f'{file}:{number}: there is no label among '
                f"{', '.join(map(str, record))}; it needs a name or a number "
                'as `label`')
        if 'template' in record:  # Here `label` is a free description.
            label = re.sub(r'[][]', '', str(label))
        label = ' '.join(str(label).replace('"', '').split())
        for path in [path_format] if path_format else _PATHS:
            try:
                path = path.format_map(record)
                break
            except KeyError:
                continue
            except (AttributeError, IndexError, TypeError,
                    ValueError) as error:
                raise ValueError(
                    f"--path '{path}': {error}; fix it") from error
        else:
            raise ValueError(
                f'{file}:{number}: there are only '
                f"{', '.join(map(str, record))}; it needs `path`, "
                'or give --path')
        if not (path and label):
            raise ValueError(f'{file}:{number}: path or label is empty')
        path = add_ending(path)
        full_path = os.path.normpath(os.path.join(prefix, path))
        # File names may contain any bytes; if the file exists, they are right.
        wrong = label if os.path.exists(full_path) else label + path
        if find_undecodable(wrong):
            name = label if find_undecodable(label) else path
            raise ValueError(f'{file}:{number}: {find_undecodable(name)} in '
                             f"'{name}'; save the file as UTF-8, for instance "
                             'with `iconv -f LATIN1 -t UTF-8`')
        entries.append(Entry(file, number, full_path, label))
    if not entries:
        raise ValueError(f"'{file}' is empty; it needs an entry per video")
    return entries


def read_class_names(source: str) -> List[str]:
    """Read names of classes in the order of their labels.

    ``source`` is a JSON file with labels by name, or as in
    :func:`load_class_names`; a ValueError if it is wrong.
    """
    if not source.lower().endswith('.json'):
        return load_class_names(source)
    names = {
        str(x.get('label')): x.get('path')
        for _, x in read_records(source)
    }
    missing = {str(label) for label in range(len(names))} - names.keys()
    if missing:
        raise ValueError(f"'{source}' has no class {missing.pop()}; it needs "
                         'labels from 0 without gaps')
    return load_class_names([names[str(x)] for x in range(len(names))])


def number_labels(entries: List[Entry], names: Optional[List[str]],
                  has_numbers: bool) -> Tuple[List[str], Dict[str, int]]:
    """Find the names of the classes, and a number for each label.

    Args:
        entries (list[Entry]): Videos.
        names (list[str], optional): Names in the order of their numbers.
            Defaults to the labels in natural order.
        has_numbers (bool): Whether labels of digits are numbers, not names.

    Raises:
        ValueError: A label is unknown, or only some are numbers.
    """
    labels = {entry.label: entry for entry in entries}
    numbers = [x for x in labels if has_numbers and x.isdecimal()]
    if names is None and 0 < len(numbers) < len(labels):
        other = next(labels[x] for x in labels if x not in numbers)
        raise ValueError(
            f"{other.place}: label '{other.label}' is not a number from 0, as "
            f"'{numbers[0]}' is; fix it or give --classes")
    if names is None and numbers:
        names = [str(x) for x in range(len(set(map(int, numbers))))]
    elif names is None:
        names = load_class_names(sorted(labels, key=natural_key))
    index = {name: number for number, name in enumerate(names)}
    if len(numbers) == len(labels) and not labels.keys() <= index.keys():
        index = {x: int(x) for x in numbers if int(x) < len(names)}
    for label, entry in labels.items():
        if label not in index:
            raise ValueError(f"{entry.place}: label '{label}' is none of the "
                             f'{len(names)} classes {shorten(names)}; fix it '
                             'or --classes')
    return names, index


def draw_split(entries: List[Entry], fraction: float,
               seed: int) -> Tuple[List[Entry], List[Entry]]:
    """Draw a fraction of each class, with at least one video on each side.

    ``entries`` must have at least two videos of each class.

    Returns:
        tuple: The remaining videos, and the drawn ones.
    """
    classes = defaultdict(list)
    for entry in entries:
        classes[entry.label].append(entry)
    rng = np.random.default_rng(seed)
    train, val = [], []
    for _, videos in sorted(classes.items()):
        videos.sort(key=lambda entry: entry.path)
        videos = [videos[x] for x in rng.permutation(len(videos))]
        count = round(fraction * len(videos))
        count = min(max(count, 1), len(videos) - 1)
        val += videos[:count]
        train += videos[count:]
    return train, val


def check_counts(parts: List[List[Entry]], names: List[str],
                 may_be_unused: bool) -> None:
    """Refuse classes with too few videos for training and validation.

    Args:
        parts (list[list[Entry]]): One list of videos to be split, or a list
            for training and one for validation. Labels are numbers.
        names (list[str]): Names of the classes.
        may_be_unused (bool): Whether classes may have no video at all.

    Raises:
        ValueError: Each class needs two videos to be split, or one in each
            part.
    """
    least = 3 - len(parts)
    for split, part in zip(SPLITS, parts):
        counts = Counter(entry.label for entry in part)
        few = [
            name for number, name in enumerate(names)
            if counts[number] < least and (counts[number] or not may_be_unused)
        ]
        if few:
            place = f'for `{split}`' if least == 1 else 'for both parts'
            raise ValueError(f'classes {shorten(few)} have fewer '
                             f'videos than the {least} that they need {place};'
                             ' add some or remove the class')
