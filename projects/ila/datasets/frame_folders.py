"""Videos as folders of images, one per frame."""
import hashlib
import os
import re
from pathlib import Path
from string import Formatter
from typing import Iterable, List, Optional, Tuple

import mmcv
import numpy as np

from ..utils import naming_source
from .annotations import Entry, Problem
from .search import select_files
from .transforms.loading import check_num_frames

# MMAction2's default.
FRAME_TEMPLATE = 'img_{:05}.jpg'


def find_frames(folder: str, template: Optional[str] = None) -> List[str]:
    """Find the frames of a folder.

    Args:
        folder (str): The folder.
        template (str, optional): ``filename_tmpl`` of MMAction2's
            ``RawframeDataset``, such as ``'img_{:05}.jpg'``; other files do
            not count. Defaults to all images.

    Returns:
        list[str]: Paths of the images in the order of the frames.

    Raises:
        ValueError: No image matches the template, one is missing between
            others, or the template has not exactly one number.
    """
    if template is None:
        return select_files(folder)
    parts = [*Formatter().parse(template)]
    if sum(field is not None for _, field, *_ in parts) != 1:
        raise ValueError(f"'{template}' has not one place for the number of a "
                         f"frame; fix it, such as '{FRAME_TEMPLATE}'")
    pattern = ''.join(
        re.escape(text) + ('' if field is None else '([0-9]+)')
        for text, field, *_ in parts)
    matches = (re.fullmatch(pattern, name) for name in os.listdir(folder))
    numbers = {int(match[1]) for match in matches if match}
    numbers = sorted(
        x for x in numbers if os.path.isfile(f'{folder}/{template.format(x)}'))
    if not numbers:
        raise ValueError(f"no image is named like '{template}'; rename them, "
                         'or change the `filename_tmpl` of the frames')
    missing = set(range(numbers[0], numbers[-1])).difference(numbers)
    if missing:
        name = template.format(min(missing))
        raise ValueError(f"'{name}' is missing between other frames; extract "
                         'the frames again')
    return [os.path.join(folder, template.format(x)) for x in numbers]


def count_frames(folder: str, template: str) -> int:
    """Count the frames of a folder, which MMAction2 numbers from 1.

    Raises:
        ValueError: They begin with another number, or see
            :func:`find_frames`.
    """
    files, first = find_frames(folder, template), template.format(1)
    if os.path.basename(files[0]) != first:
        raise ValueError(f"the first frame is not '{first}' but "
                         f"'{os.path.basename(files[0])}'; rename the frames")
    return len(files)


class FrameFolder:
    """A folder's frames, ``(H, W, 3)``, RGB, read on access.

    Raises:
        ValueError: There are fewer than 2 frames, or see
            :func:`find_frames`.
    """

    def __init__(self, folder: str, template: Optional[str] = None) -> None:
        self.files = find_frames(folder, template)
        check_num_frames(len(self.files))
        self.shape = None

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> np.ndarray:
        """Read a frame by its index, from 0.

        Raises:
            ValueError: The image cannot be read, or its size differs from
                earlier ones.
        """
        path = self.files[index]
        with naming_source(path):
            try:
                # OpenCV would pad truncated images.
                image = mmcv.imread(
                    path, channel_order='rgb', backend='pillow')
            except OSError as error:
                raise ValueError(f'the image cannot be read: {error}')
            self.shape = self.shape or image.shape
            if image.shape != self.shape:
                raise ValueError('the image has another size than the others '
                                 'of the folder; remove what is not a frame')
        return image


def is_frame_list(lines: Iterable[str], prefix: str = '') -> bool:
    """Whether a list names folders of frames, in MMAction2's format.

    It does if, in some line, an existing folder is followed by two or more
    numbers.
    """
    for line in lines:
        folder, *numbers = line.split() or ['']
        if len(numbers) > 1 and all(map(str.isdecimal, numbers)):
            if os.path.isdir(os.path.join(prefix, folder)):
                return True
    return False


def parse_frame_list(
        lines: Iterable[str],
        source: str,
        prefix: str = '',
        num_classes: Optional[int] = None,
        multi_class: bool = False,
        template: str = FRAME_TEMPLATE) -> Tuple[List[Entry], List[Problem]]:
    """Read the lines of a list as MMAction2's ``RawframeDataset`` does.

    The arguments are those of :func:`parse_list` and :func:`find_frames`.

    Returns:
        tuple: The folders of frames; and lines that are wrong, or state more
        frames than there are.
    """
    entries, problems = [], []
    for number, line in enumerate(lines, 1):
        folder, *numbers = line.split() or ['']
        path = os.path.normpath(os.path.join(prefix, folder))
        if not all(re.fullmatch('[0-9]+', x) for x in numbers) or len(
                numbers) < 2 or len(numbers) > 2 and not multi_class:
            reason = (f"'{line}' is not a folder without blanks, its number "
                      f"of frames and a label{' or several' * multi_class}; "
                      'fix that line')
            entry = Entry(source, number, '', None, line)
            problems.append(Problem('wrong line', entry, reason))
            continue
        count, *labels = map(int, numbers)
        label = tuple(sorted(set(labels))) if multi_class else labels[0]
        entry = Entry(source, number, path, label, line)
        if num_classes is not None and max(labels) >= num_classes:
            reason = (f'label {max(labels)} is not in [0, {num_classes}); fix '
                      'that line')
            problems.append(Problem('wrong line', entry, reason))
            continue
        try:
            found = count_frames(path, template)
        except OSError:
            found = count  # The error is reported when frames are read.
        except ValueError as error:
            problems.append(Problem('unreadable', entry, str(error)))
            continue
        if found < count:
            reason = (f'the list says {count} frames, the folder has {found}; '
                      'fix that line')
            problems.append(Problem('truncated', entry, reason))
        else:
            entries.append(entry)
    return entries, problems


def check_frames(folder: str,
                 template: Optional[str] = None,
                 min_frames: int = 2) -> str:
    """Read all frames of a folder, and return the SHA-256 of the files.

    Raises:
        ValueError: A frame cannot be read, or there are too few.
    """
    frames = FrameFolder(folder, template)
    if len(frames) < min_frames:
        raise ValueError(f'{len(frames)} frames, fewer than {min_frames}')
    digest = hashlib.sha256()
    for index, file in enumerate(frames.files):
        frames[index]
        digest.update(Path(file).read_bytes())
    return digest.hexdigest()
