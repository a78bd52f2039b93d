import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


def load_module(path: Path) -> ModuleType:
    """Load a file that belongs to no package, as the tools do."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(path.parent))
        spec.loader.exec_module(module)
    return module
