from contextlib import contextmanager
from typing import Iterator


@contextmanager
def naming_source(source: str) -> Iterator[None]:
    """Put the source of data, such as a path, before errors about it."""
    try:
        yield
    except (ValueError, RuntimeError) as error:
        raise ValueError(f'{source}: {error}') from None
