"""The tools' arguments, parsed before anything heavy is imported."""
import argparse
import io
import os
import runpy
import subprocess
import sys
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from unittest import mock

import pytest
from arguments import (add_inference_arguments, check_output_folder,
                       check_outputs, check_work_dir, existing_config,
                       find_checkpoint)
from commands import ROOT
from modules import load_module

from projects.ila import cli


def test_outputs_that_can_be_written(tmp_path):
    """Nothing but the folder is left, and no file is changed."""
    old = tmp_path / 'old.csv'
    old.write_text('old')
    check_outputs(str(old), suffixes=['.json', '.csv'])
    check_outputs(str(tmp_path / 'a/b/new.csv'))
    check_output_folder(str(tmp_path / 'c/d'))
    assert old.read_text() == 'old'
    assert sorted(x.name for x in tmp_path.rglob('*')) == [
        'a', 'b', 'c', 'd', 'old.csv'
    ]


def test_outputs_that_cannot_be_written(tmp_path, monkeypatch):
    file = tmp_path / 'file'
    file.touch()
    os.mkfifo(tmp_path / 'pipe.csv')
    for path, words in ((tmp_path, 'it is a folder'), (file / 'a.csv',
                                                       'File exists'),
                        (tmp_path / ('a' * 300), 'File name too long'),
                        (tmp_path / 'pipe.csv', 'it is not a regular file'),
                        ('/proc/a.csv', 'No such file')):
        with pytest.raises(
                SystemExit, match=f"cannot write '{path}'.*{words}"):
            check_outputs(str(path))
    with pytest.raises(SystemExit, match='must end with .json or .csv'):
        check_outputs('a.txt', suffixes=['.json', '.csv'])
    for path in (file, file / 'a'):
        with pytest.raises(
                SystemExit, match=f"cannot write to folder '{path}"):
            check_output_folder(str(path))

    class FullFile(io.FileIO):

        def write(self, data):
            raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patch:
        patch.setattr('builtins.open', FullFile)
        with pytest.raises(SystemExit, match='No space left'):
            check_output_folder(str(tmp_path / 'new'))
    assert not os.listdir(tmp_path / 'new')

    def fail(*args):  # As on a disk that is full or read-only.
        raise OSError(30, os.strerror(30))

    monkeypatch.setattr('builtins.open', fail)
    with pytest.raises(SystemExit, match='Read-only file system'):
        check_outputs(str(tmp_path / 'a.csv'))


def test_configs_by_name(tmp_path, monkeypatch):
    """A file that is there is taken first."""
    monkeypatch.chdir(tmp_path)
    for name in ('clip_vitb16_zeroshot', 'released/ila_vitb16_k400'):
        assert existing_config(name) == str(ROOT / f'configs/{name}.py')
        assert existing_config(f'{name}.py') == existing_config(name)
    (tmp_path / 'ila_motion').touch()
    assert existing_config('ila_motion') == 'ila_motion'
    with pytest.raises(SystemExit, match='Config file not found: ila_none'):
        existing_config('ila_none')


@pytest.mark.parametrize('words, load_from, expected', [
    ('a.pth b.mp4', None, ('a.pth', ['b.mp4'])),
    ('a.pth b.mp4', 'c.pth', ('a.pth', ['b.mp4'])),
    ('a.pth odd', None, ('a.pth', ['odd'])),
    ('a.mp4', 'a.pth', ('a.pth', ['a.mp4'])),
    ('odd', 'a.pth', ('a.pth', ['odd'])),
    ('a.MKV b.mp4', 'hf:a/b/c.pt', ('hf:a/b/c.pt', ['a.MKV', 'b.mp4'])),
    ('*.x b.mp4', 'http://a/b', ('http://a/b', ['*.x', 'b.mp4'])),
    ('folder b.mp4', 'a.pth', ('a.pth', ['folder', 'b.mp4'])),
    ('open_clip:a/b b.mp4', 'a.pth', ('open_clip:a/b', ['b.mp4'])),
    ('run[1].pth b.mp4', 'a.pth', ('run[1].pth', ['b.mp4'])),
])
def test_checkpoint_may_be_left_out(tmp_path, monkeypatch, words, load_from,
                                    expected):
    monkeypatch.chdir(tmp_path)
    for name in ('a.pth', 'run[1].pth'):
        (tmp_path / name).touch()
    (tmp_path / 'folder').mkdir()
    parser = argparse.ArgumentParser()
    add_inference_arguments(parser)
    first, *others = words.split()
    args = parser.parse_intermixed_args(
        ['ila_motion', first, '--device', 'cpu', *others])
    find_checkpoint(args, load_from)
    assert (args.checkpoint, args.paths) == expected


@pytest.mark.parametrize('checkpoint, message', [
    ('run', "'run' is the folder of a run. .* such as run/best_1.pth$"),
    ('folder', "'run/last.pth' is not a video. .* before the videos$"),
])
def test_checkpoints_are_not_taken_for_videos(tmp_path, monkeypatch,
                                              checkpoint, message):
    monkeypatch.chdir(tmp_path)
    for name in ('run', 'folder'):
        (tmp_path / name).mkdir()
    for name in ('best_1', 'last'):
        (tmp_path / f'run/{name}.pth').touch()
    args = argparse.Namespace(
        config='a.py', checkpoint=checkpoint, paths=['run/last.pth'])
    with pytest.raises(SystemExit, match=message):
        find_checkpoint(args, 'run/last.pth')


def test_config_is_not_replaced_by_its_copy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'c.py').touch()
    for folder in ('', '.', 'runs/..', str(tmp_path)):
        os.makedirs('runs', exist_ok=True)
        with pytest.raises(SystemExit, match="is the folder of c.py"):
            check_work_dir(folder, 'c.py')
    check_work_dir('runs/c', 'c.py')
    (tmp_path / 'runs/c/c.py').touch()  # That of an earlier run.
    check_work_dir('runs/c', 'c.py')


HEAVY = ('mmaction', 'mmengine', 'mmpretrain', 'numpy', 'torch')
TOOLS = sorted(
    path for path in (ROOT / 'tools').rglob('*.py')
    if '__main__' in path.read_text())


class Refusing(MetaPathFinder):
    """Lets nothing heavy, and nothing of the package, be imported."""

    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in HEAVY or (name.startswith('projects.ila.')
                                               and name
                                               != 'projects.ila.demo'):
            raise AssertionError(f'{name} is imported')


@pytest.fixture
def without_heavy_modules():
    """As in a new interpreter, in which nothing heavy can be imported."""
    kept = {
        name: module
        for name, module in sys.modules.items()
        if name.partition('.')[0] not in (*HEAVY, 'projects', 'arguments',
                                          'common')
    }
    with mock.patch.dict(
            sys.modules, kept,
            clear=True), mock.patch('sys.meta_path',
                                    [Refusing(), *sys.meta_path]), mock.patch(
                                        'sys.path', [*sys.path]):
        yield


@pytest.mark.parametrize(
    'path', TOOLS, ids=lambda path: str(path.relative_to(ROOT / 'tools')))
@pytest.mark.parametrize('argument, code', [('--help', 0), ('--none', 2)])
def test_help_and_bad_arguments_import_nothing_heavy(without_heavy_modules,
                                                     path, argument, code,
                                                     monkeypatch, capsys):
    sys.path.insert(0, str(path.parent))
    monkeypatch.setattr(sys, 'argv', [path.name, argument])
    with pytest.raises(SystemExit) as error:
        runpy.run_path(str(path), run_name='__main__')
    assert error.value.code == code
    assert 'usage: ' in ''.join(capsys.readouterr())


def test_help_of_the_page_imports_nothing_heavy():
    """In a real interpreter, since Python imports the package first."""
    code = ('import sys, runpy; sys.argv = ["-m", "--help"];'
            'sys.modules.update(dict.fromkeys(["torch", "mmengine"]));'
            'runpy.run_module("projects.ila.demo", run_name="__main__")')
    result = subprocess.run([sys.executable, '-c', code],
                            cwd=ROOT,
                            capture_output=True,
                            text=True)
    assert result.returncode == 0, result.stderr
    assert 'usage: ' in result.stdout


@contextmanager
def recording_parsers():
    """Record the parsers that parse, which ends there."""
    parsers = []

    def record(self, *args):
        parsers.append(self)
        raise SystemExit

    with mock.patch.object(argparse.ArgumentParser, 'parse_args', record), \
            mock.patch.object(argparse.ArgumentParser,
                              'parse_intermixed_args', record):
        yield parsers


def options_of(parse):
    """Get the options that a tool's parser has."""
    with recording_parsers() as parsers, pytest.raises(SystemExit):
        parse()
    return {
        tuple(action.option_strings) or action.dest:
        (action.dest, action.nargs, action.const, action.default,
         action.choices, action.required)
        for action in parsers[0]._actions if action.dest != 'help'
    }


@pytest.mark.parametrize('name', ['train.py', 'test.py'])
def test_options_are_those_of_mmaction(name):
    """Its own tool's, with one more."""
    own = options_of(load_module(ROOT / 'tools' / name).parse_args)
    del own[
        '--allow-new-keys',
    ]
    assert own == options_of(cli.load_mmaction_tool(name)['parse_args'])


# Numbers and places that are each tool's own. All else that has one name has
# one meaning, and one default.
OWN_DEFAULTS = {
    '--batch-size', '--config', '--data', '--data-prefix', '--frames',
    '--jobs', '--level', '--only', '--out', '--rounds', '--seed', '--seeds',
    '--size', '--train', '--val', '--videos', '--work-dir', '--workers'
}
# Other words for `--out`, `--classes` and `--batch-size`.
SYNONYMS = {
    '--output', '--out-dir', '--out-file', '--class-names', '--names',
    '--batch', '--bs', '--gpu', '--options', '--checkpoint', '--num-workers'
}


@pytest.fixture(scope='module')
def all_options():
    """The options of tools, page and benchmarks, by their file."""
    found = dict()
    paths = TOOLS + [ROOT / 'projects/ila/demo/__main__.py'] + sorted(
        path for path in (ROOT / 'benchmarks').glob('*.py')
        if '.parse_args' in path.read_text())
    for path in paths:
        with recording_parsers() as parsers, mock.patch(
                'sys.argv', [path.name]), mock.patch(
                    'sys.path',
                    [str(path.parent), *sys.path]), pytest.raises(SystemExit):
            runpy.run_path(str(path), run_name='__main__')
        found[str(path.relative_to(ROOT))] = [
            action for action in parsers[0]._actions
            if action.option_strings and action.dest != 'help'
        ]
    return found


def test_every_default_is_in_the_help(all_options):
    missing = [
        (path, action.option_strings[-1])
        for path, actions in all_options.items() for action in actions
        if str(action.default) not in (
            'None', 'False', '[]', '') and 'default' not in (action.help or '')
    ]
    unexplained = [(path, action.option_strings[-1])
                   for path, actions in all_options.items()
                   for action in actions if not action.help]
    assert not missing and not unexplained


def test_one_option_has_one_spelling_and_one_meaning(all_options):
    meanings = dict()
    for path, actions in all_options.items():
        for action in actions:
            for name in action.option_strings:
                assert name not in SYNONYMS, path
                default = None if name in OWN_DEFAULTS else str(action.default)
                meanings.setdefault(name,
                                    dict())[path] = (action.dest,
                                                     type(action).__name__,
                                                     default)
    assert not {
        name: uses
        for name, uses in meanings.items() if len({*uses.values()}) > 1
    }
