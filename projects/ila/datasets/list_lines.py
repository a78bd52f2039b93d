"""Lines of lists: a path and its labels."""
import re
from typing import Callable, List, Tuple

_INTEGER = re.compile('[+-]?[0-9]+')
_OTHER_DELIMITER = re.compile(r'([\t,;| ])[+-]?[0-9]+\s*$')
# `.mp4` and `.3gp`, but not the end of `take 1.5`.
_ENDING = re.compile(r'\.\w*[^\W\d_]\w*$')


def split_line(line: str, delimiter: str, multi_class: bool,
               is_file: Callable[[str], bool]) -> Tuple[str, List[int]]:
    """Split a line into the path of a video and its labels.

    The labels are the integers at the end of the line. The path may contain
    the delimiter, and also such integers if its extension separates them.

    Args:
        line (str): The line.
        delimiter (str): Separator of the fields.
        multi_class (bool): Whether a video may have several labels.
        is_file (Callable): Whether there is a video at a path. It is called
            only if the line can be read in more than one way.

    Raises:
        ValueError: The line holds no path and label, or can be read in more
            than one way.
    """
    readings, path, labels = [], line.strip(), []
    while True:
        path, _, field = map(str.strip, path.rpartition(delimiter))
        if not path or not _INTEGER.fullmatch(field):
            break
        labels = [int(field), *labels]
        readings.append((path, labels))
    if not readings:
        several = ', or several,' if multi_class else ''
        other = _OTHER_DELIMITER.search(line)
        hint = f', or set `delimiter={other[1]!r}` for the dataset' \
            if other and other[1] != delimiter else ''
        raise ValueError(f"'{line}' is not a path and an integer label"
                         f"{several} with '{delimiter}' between them; fix "
                         f'that line{hint}')
    if len(readings) == 1:
        return readings[0]
    whole = [reading for reading in readings if _ENDING.search(reading[0])]
    if multi_class:
        found = whole[:1] or [x for x in readings if is_file(x[0])]
        if len(found) == 1:
            return found[0]
        first, second, *_ = found or readings
        raise ValueError(
            f"'{line}' can be read as '{first[0]}' with the labels {first[1]} "
            f"or '{second[0]}' with {second[1]}; write the file's ending into "
            'that line')
    if whole and whole[0] != readings[0] and not is_file(readings[0][0]):
        raise ValueError(f"'{line}' has {len(whole[0][1])} labels; fix that "
                         'line, or set `multi_class=True` for the dataset')
    return readings[0]
