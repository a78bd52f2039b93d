import os
import shutil
from pathlib import Path
from tempfile import mkdtemp
from typing import Dict, Optional

from ..datasets.video_reader import VideoReader
from ..visualization import make_playable


def check_size(path: str, max_mb: float) -> None:
    """Refuse a file that is too large, in megabytes of 10**6 bytes."""
    size = Path(path).stat().st_size / 1e6
    if size > max_mb:
        raise ValueError(f'the file has {size:.1f} MB, more than the '
                         f'{max_mb:g} MB allowed; give a smaller one')


def check_length(path: str, max_seconds: float) -> None:
    """Refuse a video that is too long, before it is decoded."""
    seconds = VideoReader(Path(path).read_bytes()).duration
    if not seconds:
        raise ValueError('the file does not state how long the video is; '
                         'convert it to MP4')
    if seconds > max_seconds:
        raise ValueError(f'the video is {seconds:.1f} s long, more than the '
                         f'{max_seconds:g} s allowed; cut it')


class SessionFiles:
    """A folder for each open page, removed when the page is closed.

    Args:
        folder (str): Parent of these folders.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.sessions: Dict[str, str] = {}
        self._originals: Dict[str, str] = {}

    def new_folder(self, session: str, name: str) -> str:
        """Make an empty folder, and remove the last one with this name.

        The path is new, since browsers cache files by path.
        """
        # Systems clean up temporary folders after some days.
        os.makedirs(self.folder, exist_ok=True)
        if not os.path.isdir(self.sessions.get(session, '')):
            self.sessions[session] = mkdtemp(dir=self.folder)
        home = Path(self.sessions[session])
        for old in home.glob(f'{name}_*'):
            self._remove(old)
        return mkdtemp(prefix=f'{name}_', dir=home)

    def show(self, path: str, folder: str) -> str:
        """Get a file that browsers can play, converted if necessary.

        Raises:
            ValueError: The video cannot be decoded.
        """
        shown = str(make_playable(Path(path), Path(folder)))
        self._originals[shown] = path
        return shown

    def __contains__(self, shown: Optional[str]) -> bool:
        """Whether a file is from :meth:`show`."""
        return shown in self._originals

    def original(self, shown: str) -> str:
        """Get the original file for a file from :meth:`show`."""
        return self._originals.get(shown, shown)

    def remove(self, session: str) -> None:
        """Remove all files of a page."""
        if session in self.sessions:
            self._remove(Path(self.sessions.pop(session)))

    def _remove(self, folder: Path) -> None:
        for shown in [*self._originals]:
            if folder in Path(shown).parents:
                del self._originals[shown]
        shutil.rmtree(folder, ignore_errors=True)
