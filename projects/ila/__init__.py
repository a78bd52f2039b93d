"""ILA, implicit learnable alignment, as an MMAction2 extension.

Importing this package registers every component, so that a config needs only
``custom_imports = dict(imports=['projects.ila'])``.
"""
from . import compat

compat.apply()

from . import datasets, engine, models  # noqa: E402,F401
