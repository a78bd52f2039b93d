import ctypes
import gc
import sys
from pathlib import Path

import pytest
from mmengine.registry import DefaultScope

import projects.ila  # noqa: F401

TESTS = Path(__file__).parent
sys.path[:0] = [str(TESTS), str(TESTS.parent / 'tools')]

# glibc would keep what full-size models free: mallopt(M_MMAP_THRESHOLD, 1 MiB).
if sys.platform == 'linux' and hasattr(ctypes.CDLL(None), 'mallopt'):
    ctypes.CDLL(None).mallopt(-3, 2**20)
# Every dataset of MMEngine collects garbage, which takes 0.4 s among all that
# was imported and longer with every file of tests.
gc.freeze()


@pytest.fixture(scope='module', autouse=True)
def no_garbage():
    """Free what a file leaves, and exempt what stays from collections."""
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def mmaction_scope():
    """Resolve components in MMAction2's registries, as its Runner does."""
    with DefaultScope.overwrite_default_scope('mmaction'):
        yield
