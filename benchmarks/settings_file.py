"""Settings of results, saved next to them."""
import json
from pathlib import Path


def check_settings(folder: Path, settings: dict) -> None:
    """Save the settings of a folder's results, or compare with saved ones.

    Raises:
        ValueError: The folder holds results with other settings.
    """
    path = folder / 'settings.json'
    settings = json.loads(json.dumps(settings, default=str))
    if path.is_file():
        found = json.loads(path.read_text())
        others = [key for key in settings if found.get(key) != settings[key]]
        if others:
            raise ValueError(
                f"{folder} holds a run with other {', '.join(others)}; "
                'delete it, or take another --work-dir')
        return
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(settings))
