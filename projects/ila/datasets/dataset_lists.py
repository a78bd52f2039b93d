"""Lists of a data set: reading its parts and formatting the lines."""
import os
from itertools import chain
from pathlib import Path
from typing import Iterable, List, Optional, Sequence, Tuple

from ..utils import split_lines
from . import annotations
from . import dataset_building as building
from .annotations import Entry
from .frame_folders import count_frames
from .search import natural_key

Part = Tuple[str, List[Entry]]


def read_parts(folders: List[str],
               files: Optional[List[str]] = None,
               template: Optional[str] = None) -> List[Part]:
    """Read one part, to be split later, or two, each with its data prefix.

    Args:
        folders (list[str]): Folders that the paths of the lists are relative
            to.
        files (list[str], optional): One annotation file per folder, or two
            for one folder. By default the folders have one folder per class.
        template (str, optional): See :func:`read_annotations`.
    """
    if files:
        prefixes = folders * (len(files) // len(folders))
        return [(prefix, building.read_annotations(file, template, prefix))
                for file, prefix in zip(files, prefixes)]
    splits = [Path(folders[0], split) for split in building.SPLITS]
    if len(folders) == 1 and all(
            any(x.is_dir() for x in split.glob('*')) for split in splits):
        return [(folders[0], building.read_class_folders(str(split)))
                for split in splits]
    return [(folder, building.read_class_folders(folder))
            for folder in folders]


def drop_unusable(
        parts: Iterable[List[Entry]],
        skip_missing: bool,
        fix: str = 'fix the paths or give --path') -> List[List[Entry]]:
    """Leave out repeated lines and, optionally, missing videos.

    ``fix`` tells the user what to do about missing videos.
    """
    entries = [*chain(*parts)]
    missing = [x for x in entries if not os.path.exists(x.path)]
    repeats = annotations.find_repeats(entries, {})
    for kind, entry, reason in repeats:
        if kind != 'duplicate':
            raise ValueError(f"{entry.place}: '{entry.path}', {kind}: "
                             f'{reason}; remove one of them')
    if missing and not skip_missing:
        raise ValueError(
            f"{missing[0].place}: '{missing[0].path}' does not exist, one of "
            f'{len(missing)} missing files of {len(entries)}; {fix}, or '
            'leave them out with --skip-missing')
    for kind, left_out in (('missing', missing), ('repeated', repeats)):
        if left_out:
            print(f'{len(left_out)} {kind} videos are left out')
    bad = {*missing, *(problem.entry for problem in repeats)}
    parts = [[entry for entry in part if entry not in bad] for part in parts]
    if not all(parts):
        raise ValueError(f"not one video is there, '{missing[0].path}' is the "
                         f'first that is missing; {fix}')
    return parts


def find_absent(entries: Iterable[Entry], names: Sequence[str]) -> List[str]:
    """Find the classes without a video, in the order of their labels."""
    found = {*chain(*(entry.labels for entry in entries))}
    return [name for label, name in enumerate(names) if label not in found]


def report_absent(file: str, entries: Iterable[Entry],
                  names: Sequence[str]) -> None:
    """Print how many classes have no video in a list."""
    absent = find_absent(entries, names)
    if absent:
        print(f'{file}: no video of {len(absent)} of {len(names)} classes, '
              f"the first is '{absent[0]}'")


def sort_entries(entries: Iterable[Entry]) -> List[Entry]:
    """Sort entries by their label, then by their path in natural order."""
    return sorted(entries, key=lambda x: (x.label, natural_key(x.path)))


def format_list(entries: List[Entry],
                prefix: str,
                template: Optional[str] = None) -> str:
    """Format the lines of a list, and check that they can be read again.

    Args:
        entries (list[Entry]): Videos with one label or several.
        prefix (str): Folder that the paths are relative to.
        template (str, optional): File names of the frames, if the videos are
            folders of frames.

    Raises:
        ValueError: A list cannot contain such a path, or frames are missing.
    """
    lines = []
    for entry in entries:
        fields = [os.path.relpath(entry.path, prefix)]
        if template:
            try:
                fields.append(count_frames(entry.path, template))
            except (OSError, ValueError) as error:
                raise ValueError(f"{entry.place}: '{entry.path}': {error}") \
                    from error
        fields += entry.labels
        lines.append(' '.join(map(str, fields)) + '\n')
    text = ''.join(lines)
    if template:
        return text
    several = any(isinstance(entry.label, tuple) for entry in entries)
    read, _ = annotations.parse_list(
        split_lines(text), 'list', prefix, multi_class=several)
    read = {(os.path.abspath(entry.path), entry.label) for entry in read}
    for entry in entries:
        if (os.path.abspath(entry.path), entry.label) not in read:
            raise ValueError(
                f'{entry.path!r} cannot stand in a list, since it begins or '
                'ends with a blank or has a line break; rename the file')
    return text
