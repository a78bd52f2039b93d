import json
import subprocess
import sys
from types import SimpleNamespace

import torch

from projects.ila.engine.hooks import run_record_hook
from projects.ila.engine.hooks.run_record_hook import RunRecordHook


def record(folder):
    runner = SimpleNamespace(log_dir=str(folder), seed=7)
    RunRecordHook().before_run(runner)
    return json.loads((folder / 'run.json').read_text())


def make_repository(folder):
    module = folder / 'hook.py'
    module.write_text('first\n')
    git = ['git', '-C', folder, '-c', 'user.name=a', '-c', 'user.email=a@b']
    for command in (['init', '-q'], ['add', '.'], ['commit', '-qm', 'first']):
        subprocess.run([*git, *command], check=True)
    head = subprocess.run([*git, 'rev-parse', 'HEAD'],
                          capture_output=True,
                          text=True,
                          check=True).stdout.strip()
    return module, head


def test_tells_command_versions_and_commit(tmp_path, monkeypatch):
    (tmp_path / 'code').mkdir(), (tmp_path / 'log').mkdir()
    module, head = make_repository(tmp_path / 'code')
    monkeypatch.setattr(run_record_hook, '__file__', str(module))
    monkeypatch.setattr(sys, 'argv', ['train.py', 'config.py'])
    written = record(tmp_path / 'log')
    assert written['command'] == ['train.py', 'config.py']
    assert (written['seed'], written['processes']) == (7, 1)
    assert written['versions']['torch'] == torch.__version__.split('+')[0]
    assert {'mmaction2', 'mmengine', 'python'} <= set(written['versions'])
    assert (written['commit'], written['changed']) == (head, False)
    assert not (tmp_path / 'log/changes.diff').exists()

    module.write_text('second\n')
    assert record(tmp_path / 'log')['changed']
    assert '+second' in (tmp_path / 'log/changes.diff').read_text()

    module.write_bytes('f\xfcr\n'.encode('latin1'))
    record(tmp_path / 'log')
    assert r'+f\xfcr' in (tmp_path / 'log/changes.diff').read_text()


def test_another_repository_around_it(tmp_path, monkeypatch):
    """Its commit says nothing of a package that is installed within."""
    make_repository(tmp_path)
    (tmp_path / 'log').mkdir(), (tmp_path / 'site-packages').mkdir()
    module = tmp_path / 'site-packages/hook.py'
    module.touch()
    monkeypatch.setattr(run_record_hook, '__file__', str(module))
    assert record(tmp_path / 'log')['commit'] is None


def test_needs_no_repository(tmp_path, monkeypatch):
    monkeypatch.setenv('GIT_CEILING_DIRECTORIES', str(tmp_path.parent))
    monkeypatch.setattr(run_record_hook, '__file__', str(tmp_path / 'a.py'))
    written = record(tmp_path)
    assert (written['commit'], written['changed']) == (None, False)
