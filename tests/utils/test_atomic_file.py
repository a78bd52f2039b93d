import os

import pytest

from projects.ila.utils import check_output, check_output_folder


def test_outputs_that_can_be_written(tmp_path):
    """Nothing but the folder is left, and no file is changed."""
    old = tmp_path / 'old.csv'
    old.write_text('old')
    check_output(old, ['.json', '.csv'])
    check_output(str(tmp_path / 'a/b/new.csv'))
    check_output_folder(str(tmp_path / 'c/d'))
    assert old.read_text() == 'old'
    assert sorted(x.name for x in tmp_path.rglob('*')) == [
        'a', 'b', 'c', 'd', 'old.csv'
    ]


def test_outputs_that_cannot_be_written(tmp_path, monkeypatch):
    file = tmp_path / 'file'
    file.touch()
    for path, words in ((tmp_path, 'it is a folder'), (file / 'a.csv',
                                                       'File exists'),
                        (tmp_path / ('a' * 300), 'File name too long'),
                        ('/proc/a.csv', 'No such file')):
        with pytest.raises(
                ValueError, match=f"cannot write '{path}'.*{words}"):
            check_output(str(path))
    with pytest.raises(ValueError, match='must end with .json or .csv'):
        check_output('a.txt', ['.json', '.csv'])
    for path in (file, file / 'a'):
        with pytest.raises(
                ValueError, match=f"cannot write to folder '{path}"):
            check_output_folder(str(path))

    def fail(*args):  # As on a disk that is full or read-only.
        raise OSError(30, os.strerror(30))

    monkeypatch.setattr('builtins.open', fail)
    with pytest.raises(ValueError, match='Read-only file system'):
        check_output(str(tmp_path / 'a.csv'))
