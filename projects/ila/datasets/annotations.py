"""Entries of the lists and folders of a data set."""
import os
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Dict, Iterable, List, NamedTuple, Optional, Tuple, Union

from ..utils import read_lines, replacing
from .ila_video_dataset import ILAVideoDataset
from .search import add_ending, list_videos


class Entry(NamedTuple):
    """A video from a list, or from a folder, which has no lines."""
    source: str
    line: int  # from 1; 0 if there are no lines
    path: str
    # One number, several numbers in ascending order, or a name.
    label: Union[int, Tuple[int, ...], str, None]
    text: str = ''  # The line itself.

    @property
    def labels(self) -> tuple:
        """tuple: No label, one or several."""
        if self.label is None:
            return ()
        return self.label if isinstance(self.label, tuple) else (self.label, )

    @property
    def place(self) -> str:
        """str: Its list and line, or its folder."""
        return f'{self.source}:{self.line}' if self.line else self.source


class Problem(NamedTuple):
    """What is wrong with an entry, which has no path if its line is wrong."""
    kind: str
    entry: Entry
    reason: str


def parse_list(lines: Iterable[str],
               source: str,
               prefix: str = '',
               num_classes: Optional[int] = None,
               multi_class: bool = False,
               delimiter: str = ' ') -> Tuple[List[Entry], List[Problem]]:
    """Read the lines of a list as :class:`ILAVideoDataset` does.

    Args:
        lines (Iterable[str]): The lines; empty ones are skipped.
        source (str): The list's name.
        prefix (str): Folder that the paths are relative to.
        num_classes (int, optional): Labels must be below this number.
        multi_class (bool): Whether videos may have several labels, which then
            are a tuple.
        delimiter (str): Separator of the fields.

    Returns:
        tuple: The videos and the wrong lines. Paths are normalised and have
        the extension that decoders would add.
    """
    dataset = ILAVideoDataset(
        source, [],
        data_prefix=dict(video=prefix),
        num_classes=num_classes,
        multi_class=multi_class,
        delimiter=delimiter,
        lazy_init=True)
    entries, problems = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            info = dataset._parse_line(line, f'{source}:{number}')
        except ValueError as error:
            # The entry already says where the line is.
            reason = str(error).removeprefix(f'{source}:{number}: ')
            entry = Entry(source, number, '', None, line)
            problems.append(Problem('wrong line', entry, reason))
        else:
            path = os.path.normpath(add_ending(info['filename']))
            label = info['label']
            if multi_class:
                label = tuple(sorted(set(label)))
            entries.append(Entry(source, number, path, label, line))
    return entries, problems


def read_list(source: str) -> List[str]:
    """Read the lines of a list; a ValueError if it is not text, or empty.

    Bytes that are not UTF-8 become surrogates, which :func:`parse_list`
    accepts in names of existing files.
    """
    try:
        lines = read_lines(source, 'surrogateescape')
    except OSError as error:
        raise ValueError(f"'{source}' cannot be read as a text file "
                         f'({error}); give a list or a folder') from error
    if not any(map(str.strip, lines)):
        raise ValueError(f"'{source}' is empty; it needs one line per video, "
                         'path and label')
    return lines


def read_folder(folder: str) -> List[Entry]:
    """List a folder's videos as entries without labels; see `list_videos`."""
    return [Entry(folder, 0, path, None) for path in list_videos(folder)]


def find_repeats(entries: Iterable[Entry],
                 contents: Dict[str, str]) -> List[Problem]:
    """Find entries of the same video.

    ``contents`` maps paths to hashes of the files' content.

    Returns:
        list[Problem]: For a video whose labels differ, all its entries, with
        kind ``'two labels'``. Otherwise all entries but the first, with kind
        ``'in two lists'`` or ``'duplicate'``.
    """
    groups = defaultdict(list)
    for entry in entries:
        groups[contents.get(entry.path) or entry.path].append(entry)
    problems = []
    for group in groups.values():
        first = group[0]
        labels = {entry.label for entry in group} - {None}
        for entry in group:
            if len(labels) > 1:
                other = next(x for x in group if x.label != entry.label)
                problems.append(
                    Problem(
                        'two labels', entry,
                        f'label {entry.label}, but {other.label} as '
                        f'{other.path} of {other.place}'))
            elif entry is not first:
                kind = 'duplicate'
                if entry.source != first.source:
                    kind = 'in two lists'
                problems.append(
                    Problem(kind, entry,
                            f'the same as {first.path} of {first.place}'))
    return problems


def write_files(texts: Dict[str, str]) -> None:
    """Write text files atomically, after checking that all can be written.

    Args:
        texts (dict[str, str]): Contents by path. Folders are created.

    Raises:
        ValueError: A file cannot be written.
    """
    try:
        with ExitStack() as stack:
            for path, text in texts.items():
                os.makedirs(os.path.dirname(path) or os.curdir, exist_ok=True)
                partial = stack.enter_context(replacing(path))
                Path(partial).write_bytes(
                    text.encode('utf-8', 'surrogateescape'))
    except OSError as error:
        raise ValueError(
            f"cannot write '{error.filename or path}': {error.strerror}; fix "
            'this or choose another place') from error
