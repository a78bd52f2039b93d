import sys
from pathlib import Path

import pytest
from mmengine.registry import DefaultScope

import projects.ila  # noqa: F401

TESTS = Path(__file__).parent
sys.path[:0] = [str(TESTS), str(TESTS.parent / 'tools')]


@pytest.fixture(autouse=True)
def mmaction_scope():
    """Resolve components in MMAction2's registries, as its Runner does."""
    with DefaultScope.overwrite_default_scope('mmaction'):
        yield
