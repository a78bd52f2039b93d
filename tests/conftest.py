import ctypes
import gc
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

# Tests are of CPUs, on which a launcher may start several processes.
os.environ['CUDA_VISIBLE_DEVICES'] = ''

TESTS = Path(__file__).parent
LIBC = ctypes.CDLL(None)
sys.path[:0] = [str(TESTS), str(TESTS.parent / 'tools')]


def pytest_collectstart():
    """Import what all tests need, but not in xdist's own process."""
    from mmengine.dataset import base_dataset

    import projects.ila  # noqa: F401

    # Each dataset collects garbage, which takes half a second among all that
    # is imported here.
    base_dataset.gc = SimpleNamespace(collect=lambda: None)


@pytest.fixture(scope='module', autouse=True)
def no_garbage():
    """Free what a file leaves, and exempt what stays from collections."""
    from mmengine.logging import MMLogger
    yield
    # Servers close the files of all loggers, which could not be used again.
    MMLogger._instance_dict.clear()
    gc.collect()
    gc.freeze()
    if hasattr(LIBC, 'malloc_trim'):  # glibc keeps what models free.
        LIBC.malloc_trim(0)


@pytest.fixture(autouse=True)
def mmaction_scope():
    """Resolve components in MMAction2's registries, as its Runner does."""
    from mmengine.registry import DefaultScope
    with DefaultScope.overwrite_default_scope('mmaction'):
        yield


def pytest_collection_modifyitems(items):
    """Begin with the files that take longest, which leaves no long one last."""
    folders = ('tools', 'apis', TESTS.name)
    items.sort(key=lambda item: folders.index(item.path.parent.name)
               if item.path.parent.name in folders else len(folders))
    gc.freeze()
