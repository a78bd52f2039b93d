"""Triton's kernels, run by its interpreter, give what plain PyTorch does."""
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    find_spec('triton') is None, reason='Triton is not installed')


@pytest.fixture(scope='module')
def differences():
    """Relative differences, from a process in which kernels are interpreted."""
    script = Path(__file__).with_name('interpreted.py')
    result = subprocess.run([sys.executable, script],
                            env={
                                **os.environ, 'TRITON_INTERPRET': '1'
                            },
                            capture_output=True,
                            text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout.splitlines()[-1])


@pytest.mark.parametrize('name',
                         ['depthwise', 'relu', 'pool', 'tokens', 'points'])
def test_equals_its_definition(differences, name):
    """So do the gradients, which follow the result."""
    for case in differences['ops']:
        assert max(case[name]) < 1e-6


@pytest.mark.parametrize('name', ['token', 'additions', 'first', 'released'])
def test_backbones_compute_the_same(differences, name):
    found = differences['backbones'][name]
    # Other orders of summation round otherwise; 'first' has no kernels.
    assert (name != 'first') == (found['training'] > 0)
    assert found['training'] < 1e-5
    assert found['deployed'] < 1e-5
    # Half precision differs as much as without the kernels.
    assert 0 < found['half'] < 2 * found['half, no kernels'] < 1e-2
