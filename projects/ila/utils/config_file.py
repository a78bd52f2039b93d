import traceback
from pathlib import Path
from typing import Union

from mmengine.config import Config


def load_config_file(path: Union[str, Path]) -> Config:
    """Read a config file.

    Raises:
        ValueError: The file cannot be read, for any reason.
    """
    try:
        return Config.fromfile(path)
    except Exception as error:  # A config may run any code.
        cause = error.__cause__ or error.__context__ or error
        cause = cause if isinstance(error, ImportError) else error
        reason = error.args[0] if isinstance(error, KeyError) else cause
        reason = str(reason).strip()
        line = getattr(cause, 'lineno', None)
        for frame in traceback.extract_tb(cause.__traceback__):
            if frame.filename.endswith('.py') and frame.name == '<module>':
                line = frame.lineno
        place = f' in line {line}' if line else ''
        raise ValueError(
            f'{path}: the config cannot be read ({type(cause).__name__}'
            f'{place}: {reason.splitlines()[0] if reason else "no reason"}); '
            'fix it, or what its `_base_` names') from error
