import pytest

from projects.ila.utils import read_lines, read_text
from projects.ila.utils.text_file import find_undecodable

LINES = ['café/a b.mp4 0', '', '走る\u2028\x85.mp4 1']


@pytest.mark.parametrize('end', ['\n', '\r\n', '\r'])
@pytest.mark.parametrize(
    'encoding',
    ['utf-8', 'utf-8-sig', 'utf-16', 'utf-32', 'utf-16-be', 'utf-32-be'])
def test_certain_encodings(tmp_path, encoding, end):
    text = end.join(LINES) + end
    if encoding.endswith('-be'):
        text = f'\ufeff{text}'
    path = tmp_path / 'list.txt'
    path.write_bytes(text.encode(encoding))
    assert read_lines(str(path)) == LINES
    assert read_lines(str(path), 'surrogateescape') == LINES


def test_joined_files(tmp_path):
    path = tmp_path / 'list.txt'
    path.write_bytes('a\nb\n'.encode('utf-8-sig') * 2)
    assert read_lines(str(path)) == ['a', 'b', 'a', 'b']


@pytest.mark.parametrize('content, words', [
    ('a.mp4 0\né/ü.mp4 1\n'.encode('latin-1'), ':2: byte 1 (0xe9) is not'),
    ('é\n'.encode() + 'aé'.encode('cp1252'), ':2: byte 2 (0xe9) is not'),
    ('é\n'.encode() + 'é b ü'.encode() + b'\xff', ':2: byte 8 (0xff)'),
    ('名前\n'.encode('shift-jis'), ':1: byte 1 (0x96)'),
    ('a.mp4 0\n'.encode('utf-16-le'), ':1: the line holds a NUL'),
    (b'a\nb\0\n', ':2: the line holds a NUL'),
    ('a\n'.encode('utf-16') + b'\n', 'UTF-16-LE, but byte 7 is not'),
])
def test_other_encodings_are_named(tmp_path, content, words):
    path = tmp_path / 'list.txt'
    path.write_bytes(content)
    with pytest.raises(ValueError) as error:
        read_text(str(path))
    assert str(path) in str(error.value) and words in str(error.value)
    assert 'save' in str(error.value) and 'UTF-8' in str(error.value)


def test_bytes_of_file_names_are_kept_on_demand(tmp_path):
    path = tmp_path / 'list.txt'
    path.write_bytes(b'ok\n\xc3\xa9/b\xe9.mp4 0\n')
    first, line = read_lines(str(path), 'surrogateescape')
    assert line.encode('utf-8', 'surrogateescape') == b'\xc3\xa9/b\xe9.mp4 0'
    assert find_undecodable(first) == ''
    assert find_undecodable(line) == 'byte 5 (0xe9) is not UTF-8'
