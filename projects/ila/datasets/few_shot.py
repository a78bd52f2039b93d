"""Lists of a few videos per class, and of base and novel classes."""
from collections import Counter, defaultdict
from typing import Iterable, List, Optional, Sequence, Tuple

import numpy as np

from .annotations import Entry, find_repeats, parse_list, read_list


def read_labels(source: str, num_classes: Optional[int] = None) -> List[Entry]:
    """Read a list of videos, or of folders of frames, with one label each.

    Repeated entries of a video are left out.

    Raises:
        ValueError: The list cannot be read, a line of it is wrong, or a video
            has two labels.
    """
    entries, problems = parse_list(
        read_list(source), source, num_classes=num_classes)
    for _, entry, reason in problems:
        raise ValueError(f'{entry.place}: {reason}')
    repeats = find_repeats(entries, {})
    for kind, entry, reason in repeats:
        if kind == 'two labels':
            raise ValueError(f"{entry.place}: '{entry.path}', {kind}: "
                             f'{reason}; remove one of them')
    if repeats:
        print(f"{len(repeats)} repeated videos of '{source}' are left out")
    again = {problem.entry for problem in repeats}
    return [entry for entry in entries if entry not in again]


def draw_shots(entries: Iterable[Entry], num_shots: int,
               seed: int) -> List[Entry]:
    """Draw videos of each class at random, or all if there are fewer.

    The order of the entries does not matter. With the same seed, a larger
    number of shots contains the videos of a smaller one.
    """
    classes = defaultdict(list)
    for entry in sorted(entries, key=lambda x: x.text):
        classes[entry.label].append(entry)
    rng = np.random.default_rng(seed)
    return [
        videos[index] for _, videos in sorted(classes.items())
        for index in rng.permutation(len(videos))[:num_shots]
    ]


def halve_classes(entries: Iterable[Entry],
                  num_classes: int) -> Tuple[List[int], List[int]]:
    """Halve the classes by their number of videos for training.

    This is the protocol of ViFi-CLIP (Rasheed et al., CVPR 2023): in ascending
    order of the number of videos, and of the labels where that is the same,
    the first half are novel classes and the others base classes.

    Returns:
        tuple: Labels of the base classes and of the novel ones, in the order
        of their new labels.
    """
    counts = Counter(entry.label for entry in entries)
    order = sorted(range(num_classes), key=lambda label: counts[label])
    half = num_classes // 2
    return order[half:], order[:half]


def select_classes(entries: Iterable[Entry],
                   labels: Sequence[int]) -> List[Entry]:
    """Keep the videos of some classes, relabelled by index in ``labels``."""
    index = {label: place for place, label in enumerate(labels)}
    return [
        entry._replace(
            label=index[entry.label],
            text=f'{entry.text.rpartition(str(entry.label))[0]}'
            f'{index[entry.label]}') for entry in entries
        if entry.label in index
    ]


def format_lines(entries: Iterable[Entry]) -> str:
    """Write the lines of a list."""
    return ''.join(f'{entry.text}\n' for entry in entries)
