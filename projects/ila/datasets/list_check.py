"""Checks of annotation lists: reading, unused classes and the report."""
import codecs
import csv
import io
import os
from itertools import islice
from typing import List, Optional, Tuple

from . import annotations, frame_folders
from .annotations import Entry, Problem
from .search import search_folder


def read_source(source: str,
                prefix: str,
                num_classes: Optional[int],
                multi_class: bool = False,
                template: Optional[str] = None,
                delimiter: str = ' ') -> Tuple[list, list, dict]:
    """Read a list or a folder, of videos or of folders of frames.

    Args:
        source (str): The list or folder.
        prefix (str): Folder that a list's paths are relative to.
        num_classes (int, optional): Labels must be below this number.
            Defaults to any label.
        multi_class (bool): Whether videos may have several labels.
        template (str, optional): File names of frames. Defaults to
            ``FRAME_TEMPLATE`` in lists and all images in folders. If given, a
            list is read as a list of folders of frames.
        delimiter (str): Separator of the fields in a list of videos.

    Returns:
        tuple: The entries; the problems; and for entries that are folders of
        frames, their template by path.
    """
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
    if not (template or frame_folders.is_frame_list(lines, prefix)):
        return *annotations.parse_list(lines, source, prefix, num_classes,
                                       multi_class, delimiter), {}
    with open(source, 'rb') as file:
        if file.read(3) == codecs.BOM_UTF8:
            raise ValueError(
                f"'{source}' begins with a byte order mark, which MMAction2 "
                "takes for a part of the first folder's name; save it as UTF-8 "
                'without one')
    template = template or frame_folders.FRAME_TEMPLATE
    entries, problems = frame_folders.parse_frame_list(lines, source, prefix,
                                                       num_classes,
                                                       multi_class, template)
    return entries, problems, dict.fromkeys((x.path for x in entries),
                                            template)


def drop(entries: List[Entry], problems: List[Problem]) -> List[Entry]:
    """Leave out the entries that have a problem."""
    bad = {problem.entry for problem in problems}
    return [entry for entry in entries if entry not in bad]


def find_unused(entries: List[Entry], source: str,
                num_classes: int) -> List[Problem]:
    """Find the classes without an entry in a list."""
    used = {
        label
        for entry in entries if entry.source == source
        for label in entry.labels
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
    """Format a table; bytes in paths that are not UTF-8 are escaped."""
    table = io.StringIO(newline='')
    writer = csv.writer(table, lineterminator='\n')
    writer.writerow(['kind', 'source', 'line', 'path', 'reason'])
    for kind, entry, reason in problems:
        writer.writerow(
            [kind, entry.source, entry.line or '', entry.path, reason])
    return table.getvalue().encode('utf-8', 'backslashreplace').decode()
