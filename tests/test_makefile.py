import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(
    shutil.which('make') is None, reason='make is not installed')


@pytest.fixture
def project(tmp_path):
    """The project with a Python in ``.venv`` that only tells what it is to do.

    ``python -c`` does run, but with the packages in ``site`` alone.
    """
    for name in ('Makefile', 'setup.py', 'README.md'):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / 'requirements', tmp_path / 'requirements')
    python = tmp_path / '.venv' / 'bin' / 'python'
    python.parent.mkdir(parents=True)
    python.write_text(f'''#!/bin/sh
[ "$1" = -c ] || exec echo told: "$@"
PYTHONPATH={tmp_path}/site exec {sys.executable} -S "$@"
''')
    python.chmod(0o755)
    return tmp_path


def make(project, target):
    """Run make and return what Python was told to do."""
    environment = {
        name: value
        for name, value in os.environ.items() if not name.startswith('MAKE')
    }
    process = subprocess.run(['make', target],
                             cwd=project,
                             env=environment,
                             capture_output=True,
                             text=True)
    assert process.returncode == 0, process.stderr
    return [
        line.removeprefix('told: ') for line in process.stdout.splitlines()
        if line.startswith('told: ')
    ]


@pytest.mark.parametrize('installed, installs_lite', [
    (None, True),
    ('mmcv_lite', True),
    ('mmcv', False),
])
def test_mmcv_lite_never_replaces_mmcv(project, installed, installs_lite):
    if installed:
        info = project / 'site' / f'{installed}-2.1.0.dist-info'
        info.mkdir(parents=True)
        (info / 'METADATA').write_text(
            f'Metadata-Version: 2.1\nName: {installed}\nVersion: 2.1.0\n')
    told = make(project, 'mmcv')
    assert told == ['-m pip install --no-deps -r requirements/mminstall.txt'
                    ] * installs_lite


def test_nothing_else_installs_mmcv():
    for name in ('setup.py', 'requirements/runtime.txt',
                 'requirements/lock.txt'):
        lines = (ROOT / name).read_text().splitlines()
        code = [line.partition('#')[0] for line in lines]
        assert not any('mmcv' in line for line in code), name


def read_names(name):
    """Names of the packages in a file of ``requirements/``."""
    lines = (ROOT / 'requirements' / name).read_text().splitlines()
    requirements = (line.partition('#')[0].strip() for line in lines)
    return {
        canonicalize_name(Requirement(requirement).name)
        for requirement in requirements if requirement
    }


def test_lock_has_what_ci_needs():
    """Without a package its tests would be skipped and nobody would know."""
    needed = set.union(*(read_names(f'{name}.txt')
                         for name in ('runtime', 'tests', 'docs')))
    # Its place is taken by opencv-python-headless.
    assert needed - read_names('lock.txt') == {'opencv-python'}


def test_install_is_repeated_only_after_changes(project):
    commands = make(project, 'install')
    assert '-m pip install --no-deps -r requirements/lock.txt' in commands
    assert make(project, 'install') == []
    changed = project / 'requirements' / 'lock.txt'
    later = time.time() + 10
    os.utime(changed, (later, later))
    assert make(project, 'install') == commands


@pytest.mark.parametrize('target, command', [
    ('test', f'-m pytest -n {os.cpu_count() + 1} --dist loadfile '
     '--no-loadscope-reorder tests'),
    ('demo', 'tools/demo.py'),
    ('docs', '-m mkdocs build --strict --quiet'),
])
def test_targets_install_first(project, target, command):
    *installs, last = make(project, target)
    assert last == command
    assert '-m pip install --no-deps -r requirements/lock.txt' in installs
    assert make(project, target) == [command]
