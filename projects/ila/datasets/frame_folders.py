"""Videos as folders of images, one per frame."""
import os
import re
from string import Formatter
from typing import List, Optional, Tuple

import mmcv
import numpy as np
from torchvision.datasets.folder import IMG_EXTENSIONS

from ..utils import naming_source
from .annotations import natural_key
from .transforms.loading import check_num_frames

# MMAction2's default.
FRAME_TEMPLATE = 'img_{:05}.jpg'


def select_files(folder: str,
                 extensions: Tuple[str, ...] = IMG_EXTENSIONS,
                 names: Optional[List[str]] = None) -> List[str]:
    """Get the files of a folder with one of these endings.

    Args:
        folder (str): The folder.
        extensions (tuple[str]): Endings in small letters. Defaults to those
            of images.
        names (list[str], optional): What the folder holds, where it is known.

    Returns:
        list[str]: Paths in natural order, without hidden files.
    """
    names = os.listdir(folder) if names is None else names
    return [
        os.path.join(folder, name) for name in sorted(names, key=natural_key)
        if name.lower().endswith(extensions) and name[0] != '.'
    ]


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
        ValueError: No image is named by the template, one is missing between
            others, or it is no template of one number.
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
    numbers = sorted(x for x in numbers
                     if os.path.isfile(f'{folder}/{template.format(x)}'))
    if not numbers:
        raise ValueError(f"no image is named like '{template}'; rename them, "
                         'or change the `filename_tmpl` of the frames')
    missing = set(range(numbers[0], numbers[-1])).difference(numbers)
    if missing:
        name = template.format(min(missing))
        raise ValueError(f"'{name}' is missing between other frames; extract "
                         'the frames again')
    return [os.path.join(folder, template.format(x)) for x in numbers]


class FrameFolder:
    """A folder's frames, read when they are asked for.

    Args:
        folder (str): The folder.
        template (str, optional): See :func:`find_frames`.

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
        """Read a frame.

        Args:
            index (int): Its number from 0.

        Returns:
            np.ndarray: RGB, ``(H, W, 3)``.

        Raises:
            ValueError: The image cannot be read or has another size than
                those before.
        """
        path = self.files[index]
        with naming_source(path):
            try:
                # OpenCV fills up truncated images.
                image = mmcv.imread(
                    path, channel_order='rgb', backend='pillow')
            except OSError as error:
                raise ValueError(f'the image cannot be read: {error}')
            self.shape = self.shape or image.shape
            if image.shape != self.shape:
                raise ValueError('the image has another size than the others '
                                 'of the folder; remove what is no frame')
        return image
