"""Videos on the disk: files, and folders of frames."""
import glob
import os
import re
from pathlib import Path
from typing import Iterator, List, NamedTuple, Optional, Tuple, Union

from torchvision.datasets.folder import IMG_EXTENSIONS

VIDEO_SUFFIXES = ('.3gp', '.avi', '.flv', '.m4v', '.mkv', '.mov', '.mp4',
                  '.mpeg', '.mpg', '.ogv', '.ts', '.webm', '.wmv')


class Found(NamedTuple):
    """Paths of video files and of folders with images, in natural order."""
    videos: List[str]
    frame_folders: List[str]


def add_ending(path: str) -> str:
    """Add ``.mp4`` to a path without an extension, as MMAction2 does."""
    return path if os.path.splitext(path)[1] else f'{path}.mp4'


def natural_key(text: str) -> tuple:
    """Sort key that treats digits as numbers: ``a2`` is before ``a10``."""
    parts = re.split(r'(\d+)', text)
    # Words and numbers alternate, so that the same types are compared.
    return [int(x) if i % 2 else x for i, x in enumerate(parts)], text


def select_files(folder: str,
                 suffixes: Tuple[str, ...] = IMG_EXTENSIONS,
                 names: Optional[List[str]] = None) -> List[str]:
    """Get a folder's files with certain extensions, in natural order.

    ``suffixes`` are in lower case. ``names`` is the content of the folder, if
    it is known. Hidden files are left out.
    """
    names = os.listdir(folder) if names is None else names
    return [
        os.path.join(folder, name) for name in sorted(names, key=natural_key)
        if name.lower().endswith(suffixes) and name[0] != '.'
    ]


def _walk(
    folder: str, above: Tuple[str,
                              ...] = ()) -> Iterator[Tuple[str, List[str]]]:
    """Yield each folder and the names of its files, like ``os.walk``.

    Hidden folders are left out. Links are followed, but not in a circle.
    """
    real = os.path.realpath(folder)
    if real in above:
        return
    names = os.listdir(folder)
    folders = {x for x in names if os.path.isdir(os.path.join(folder, x))}
    yield folder, [name for name in names if name not in folders]
    for name in folders:
        if name[0] != '.':
            yield from _walk(os.path.join(folder, name), (*above, real))


def search_folder(folder: Union[str, Path]) -> Found:
    """Find the videos in a folder and all its subfolders.

    Hidden files and folders are left out, links are followed. A
    FileNotFoundError is raised if there is no such folder.
    """
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"folder '{folder}' does not exist; fix the "
                                f'path, which is taken from {Path.cwd()}')
    videos, frame_folders = [], []
    for place, names in _walk(folder):
        videos += select_files(place, VIDEO_SUFFIXES, names)
        if select_files(place, names=names):
            frame_folders.append(place)
    return Found(*(sorted(map(os.path.normpath, paths), key=natural_key)
                   for paths in (videos, frame_folders)))


def list_videos(folder: Union[str, Path]) -> List[str]:
    """List the videos in a folder and its subfolders, see `search_folder`.

    A ValueError is raised if there is none.
    """
    videos = search_folder(folder).videos
    if not videos:
        raise ValueError(f"folder '{folder}' holds no video; put files there "
                         f"that end in {', '.join(VIDEO_SUFFIXES)}")
    return videos


def names_videos(path: str) -> bool:
    """Whether a path is for :func:`find_videos`: a folder, a pattern, or a
    file with the extension of a video."""
    is_pattern = glob.has_magic(path) and not os.path.lexists(path)
    return (os.path.isdir(path) or is_pattern
            or path.lower().endswith(VIDEO_SUFFIXES))


def find_videos(path: str, prefer_frames: bool = False) -> List[str]:
    """Find the videos that a path stands for, in natural order.

    Args:
        path (str): A file, a folder or a shell pattern, with ``**`` for any
            folders. If a folder and its subfolders hold no video file, each
            folder of images is a video, with the images as frames.
        prefer_frames (bool): Whether to look for video files only if there
            is no folder of images.
    """
    if os.path.isdir(path):
        videos, frame_folders = search_folder(path)
        if prefer_frames:
            return frame_folders or videos
        return videos or frame_folders
    if os.path.lexists(path):
        return [path]  # Not always a file; the reader reports that.
    found = []
    for match in sorted(glob.glob(path, recursive=True), key=natural_key):
        found += find_videos(match, prefer_frames)
    # `**` yields both a folder and its contents.
    return list(dict.fromkeys(found))
