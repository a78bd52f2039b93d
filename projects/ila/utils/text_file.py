"""Read text files, and check their encoding."""
import codecs
import io
import os.path as osp
import re
from typing import List

from mmengine.fileio import get

# In this order, since the marks of UTF-32 begin with those of UTF-16.
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF32_LE: 'utf-32-le',
    codecs.BOM_UTF32_BE: 'utf-32-be',
    codecs.BOM_UTF16_LE: 'utf-16-le',
    codecs.BOM_UTF16_BE: 'utf-16-be',
    codecs.BOM_UTF8: 'utf-8',
}


def split_lines(text: str) -> List[str]:
    """Split a text at ``\\n``, ``\\r\\n`` and ``\\r``.

    ``str.splitlines`` also splits at other characters, which may be part of a
    file name.

    Args:
        text (str): The text.

    Returns:
        list[str]: The lines without line ends, and without byte order marks
        at their start, which occur where files were joined.
    """
    return [
        line.rstrip('\n').removeprefix('\ufeff')
        for line in io.StringIO(text, newline=None)
    ]


def find_undecodable(text: str) -> str:
    """Find what is not UTF-8 in a text that has surrogates for such bytes.

    Args:
        text (str): A line or a name.

    Returns:
        str: Message with the position, from 1, and the value of the first such
        byte; empty if there is none.
    """
    match = re.search('[\ud800-\udfff]', text)
    if not match:
        return ''
    number = len(text[:match.start()].encode()) + 1
    return f'byte {number} (0x{ord(match[0]) & 0xff:02x}) is not UTF-8'


def read_text(path: str, errors: str = 'strict') -> str:
    """Read a text file.

    It is UTF-8, unless a byte order mark says that it is UTF-16 or UTF-32.

    Args:
        path (str): The file, in any storage of MMEngine.
        errors (str): ``'strict'``, or ``'surrogateescape'`` to keep bytes
            that are not UTF-8, which file names may contain; the caller must
            check these. Defaults to ``'strict'``.

    Returns:
        str: The text without the byte order mark.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not a file, or has another encoding. The message
            names the file, the line and the byte.
    """
    if osp.exists(path) and not osp.isfile(path):
        raise ValueError(f"'{path}' is a folder, a pipe or a device; give a "
                         'text file')
    content, encoding = bytes(get(str(path))), 'utf-8'
    for mark, encoding in _BYTE_ORDER_MARKS.items():
        if content.startswith(mark):
            break
    else:
        mark = b''
    try:
        text = content[len(mark):].decode(
            encoding, 'surrogateescape' if encoding == 'utf-8' else 'strict')
    except UnicodeDecodeError as error:
        raise ValueError(
            f"'{path}' begins with the byte order mark of "
            f'{encoding.upper()}, but byte {len(mark) + error.start + 1} is '
            'not in that encoding; save it as UTF-8') from error
    for number, line in enumerate(split_lines(text), 1):
        if '\0' in line:
            raise ValueError(f'{path}:{number}: the line holds a NUL, as in '
                             'files that are not text and in UTF-16 without a '
                             'byte order mark; give another file or save it '
                             'as UTF-8')
        if errors == 'strict' and find_undecodable(line):
            raise ValueError(
                f'{path}:{number}: {find_undecodable(line)}; save the file '
                'as UTF-8, for instance with `iconv -f LATIN1 -t UTF-8`')
    return text


def read_lines(path: str, errors: str = 'strict') -> List[str]:
    """Read the lines of a text file; see :func:`read_text`."""
    return split_lines(read_text(path, errors))
