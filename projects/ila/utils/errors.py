import os.path as osp
from contextlib import contextmanager
from typing import Any, Iterator, Optional

from mmengine.registry.build_functions import build_from_cfg

PACKAGE = osp.dirname(osp.dirname(osp.abspath(__file__)))


@contextmanager
def naming_source(source: str) -> Iterator[None]:
    """Prefix errors about data with its source, such as a path."""
    try:
        yield
    except (ValueError, RuntimeError) as error:
        raise ValueError(f'{source}: {error}') from None


def is_explained(error: Exception) -> bool:
    """Whether an error is from this project, so that it says what to fix."""
    if not isinstance(error, (OSError, ValueError)):
        return False
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return last is not None and last.tb_frame.f_code.co_filename.startswith(
        PACKAGE + osp.sep)


def _find_type(error: BaseException) -> Optional[Any]:
    """Find the ``type`` of the config that was being built."""
    found, place = None, error.__traceback__
    while place is not None:
        if place.tb_frame.f_code is build_from_cfg.__code__:
            cfg = place.tb_frame.f_locals.get('cfg')
            found = cfg.get('type') if isinstance(cfg, dict) else None
        place = place.tb_next
    return getattr(found, '__name__', found)


@contextmanager
def explaining_builds() -> Iterator[None]:
    """Turn errors in building from a config into errors that name the part.

    Raises:
        ValueError: Something cannot be built. Errors of this project are not
            changed.
    """
    try:
        yield
    except Exception as error:  # Its type depends on what is built.
        if is_explained(error):
            raise
        kind = _find_type(error)
        reason = error.args[0] if isinstance(error, KeyError) else error
        what = f"'{kind}' of the config" if kind else 'the config'
        raise ValueError(f'{what} cannot be used ({type(error).__name__}: '
                         f'{reason}); fix its settings') from error
