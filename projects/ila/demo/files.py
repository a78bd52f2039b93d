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
        folder (str): Where the folders are.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.sessions: Dict[str, str] = {}
        self._originals: Dict[str, str] = {}

    def new_folder(self, session: str, name: str) -> str:
        """Make an empty folder in place of the last one of that name.

        Its path is a new one, since browsers keep what they have loaded.
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
        """Give a file that browsers play, written to a folder if need be.

        Raises:
            ValueError: The video cannot be decoded.
        """
        shown = str(make_playable(Path(path), Path(folder)))
        self._originals[shown] = path
        return shown

    def __contains__(self, shown: Optional[str]) -> bool:
        """Whether :meth:`show` gave a file."""
        return shown in self._originals

    def original(self, shown: str) -> str:
        """Get the file that :meth:`show` was given."""
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
