"""ILA, implicit learnable alignment, as an MMAction2 extension.

Importing this package registers every component, so that a config needs only
``custom_imports = dict(imports=['projects.ila'])``.
"""
import sys

from .version import __version__  # noqa: F401


def register_all() -> None:
    """Register every component in MMAction2's registries."""
    from . import compat
    compat.apply()
    from . import datasets, engine, models  # noqa: F401


# True while Python locates the module of `python -m projects.ila.…`, which
# parses its arguments first, and then registers the components itself.
if sys.argv[:1] != ['-m']:
    register_all()
