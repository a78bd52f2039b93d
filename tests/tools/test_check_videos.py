import codecs
import csv
import faulthandler
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from modules import load_module
from videos import write_barcodes, write_h264, write_video

from projects.ila.datasets import list_check, video_check

TOOL = Path(__file__).resolve().parents[2] / 'tools/data/check_videos.py'
tool = load_module(TOOL)


@pytest.fixture
def check(monkeypatch, capsys, tmp_path):
    """Run the tool in an own folder; return its exit code and its lines."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(
            sys, 'argv',
            [str(TOOL), '--workers', '2', '--out', 'report.csv', *arguments])
        with pytest.raises(SystemExit) as error:
            tool.main()
        return error.value.code, capsys.readouterr().out.splitlines()

    return run


def read_report():
    with open('report.csv', newline='') as file:
        return [(row['kind'], row['path'] or row['line'])
                for row in csv.DictReader(file)]


@pytest.fixture(scope='module')
def broken(tmp_path_factory):
    """A folder with videos of all kinds; their names tell what is expected."""
    folder = tmp_path_factory.mktemp('videos')
    whole = write_video(folder / 'good 1.mp4', 30)
    write_h264(folder / 'good 2.mkv', 30)
    write_video(folder / 'good 3.webm', 20, fourcc='VP80')
    write_video(folder / 'good 4.avi', 20, fourcc='MJPG')
    write_video(folder / 'good 5.mp4', 2)
    for number, suffix in ((1, '.mp4'), (2, '.mkv'), (3, '.webm')):
        content = next(folder.glob(f'good {number}.*')).read_bytes()
        for percent in (10, 90, 99):
            path = folder / f'truncated {number} {percent}{suffix}'
            path.write_bytes(content[:len(content) * percent // 100])
    write_video(folder / 'too short.mp4', 1)
    (folder / 'unreadable 1.mp4').touch()
    (folder / 'unreadable 2.mp4').write_text('no video\n' * 99)
    # Its size and its index are right, but not all of its frames are there.
    content = bytearray(whole.read_bytes())
    middle, end = len(content) // 3, content.index(b'moov') - 4
    content[middle:end] = bytes(end - middle)
    (folder / 'unreadable 3.mp4').write_bytes(content)
    (folder / 'sub').mkdir()
    (folder / 'sub/duplicate.mp4').write_bytes(whole.read_bytes())
    return folder


def test_kinds_of_a_folder(broken, check):
    code, lines = check(str(broken))
    assert code == 1
    found = {path: kind for kind, path in read_report()}
    expected = {}
    for path in broken.rglob('*.*'):
        kind = path.stem.rstrip('0123456789 ')
        if kind != 'good':
            expected[str(path)] = kind
    assert found == expected
    counts = dict(line.rsplit(maxsplit=1) for line in lines[:5])
    assert counts == {
        'good': '5',
        'truncated': '9',
        'too short': '1',
        'unreadable': '3',
        'duplicate': '1'
    }
    assert len(lines) == 5 + len(expected)


def test_good_files_are_those_of_which_every_frame_decodes(broken):
    """Compared with PyAV, which decodes with FFmpeg's own libraries."""
    for path in broken.glob('*.mp4'):
        try:
            with av.open(str(path)) as container:
                frames = sum(1 for _ in container.decode(video=0))
                whole = frames == container.streams.video[0].frames >= 2
        except (av.FFmpegError, IndexError):
            whole = False
        assert (video_check.check_video(str(path)).kind == '') == whole, path


def test_all_is_well(check):
    for index, name in enumerate(('a', 'b 1')):
        write_video(Path(f'{name}.mp4'), 10 + index)
    Path('list.txt').write_text('a 0\nb 1.mp4  1\n\n')
    code, lines = check('list.txt')
    assert code == 0
    assert [line.split() for line in lines] == [['good', '2']]
    assert read_report() == []
    assert check('.')[0] == 0


def test_min_frames(check):
    for frames in (7, 8):
        write_video(Path(f'{frames}.mp4'), frames)
    assert check('.', '--min-frames', '8')[0] == 1
    assert read_report() == [('too short', '7.mp4')]


def fake_check(path, min_frames, hashed, pipeline):
    """A decoder that does what the file's name says."""
    if 'crash' in path:
        faulthandler.disable()  # It would print as if a test had crashed.
        os.kill(os.getpid(), signal.SIGSEGV)
    if 'exit' in path:
        os._exit(3)
    if 'hang' in path:
        time.sleep(600)
    print('noise of a decoder')
    return video_check.Result(content=path if hashed else '')


@pytest.mark.parametrize('workers', ['1', '3'])
def test_crashes_and_hangs_do_not_stop_the_others(check, monkeypatch, workers):
    monkeypatch.setattr(video_check, 'check_video', fake_check)
    names = ['good 1', 'crash', 'good 2', 'hang', 'exit', 'hang 2', 'good 3']
    for name in names:
        Path(f'{name}.mp4').write_text('same size')
    start = time.monotonic()
    code, lines = check('.', '--workers', workers, '--timeout', '3')
    assert time.monotonic() - start < 30
    assert code == 1
    assert sorted(read_report()) == [('crashing', 'crash.mp4'),
                                     ('crashing', 'exit.mp4'),
                                     ('hanging', 'hang 2.mp4'),
                                     ('hanging', 'hang.mp4')]
    text = '\n'.join(lines)
    assert 'hang.mp4: not decoded in 3 s' in text
    assert 'crash.mp4: it ended the decoding process with exit code -11' in (
        text)
    assert 'exit code 3' in text
    assert 'noise' not in text


def test_only_files_of_one_size_are_hashed(tmp_path, monkeypatch):
    hashed = tmp_path / 'hashed'

    def note(path, min_frames, wanted, pipeline):
        if wanted:
            with open(hashed, 'a') as file:
                file.write(Path(path).name + '\n')
        return video_check.Result()

    monkeypatch.setattr(video_check, 'check_video', note)
    for name, text in (('a', '12'), ('b', '123'), ('c', '21'), ('d', '')):
        (tmp_path / name).write_text(text)
    video_check.check_videos([str(tmp_path / x) for x in 'abcd'])
    assert hashed.read_text().split() == ['a', 'c']


def test_hash_is_that_of_the_content(tmp_path):
    path = write_video(tmp_path / 'a.mp4', 5)
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    assert video_check.check_video(str(path), hashed=True).content == expected
    assert video_check.check_video(str(path)).content == ''


def test_the_reader_of_a_config(check):
    """Decord reads no GIF, and is not believed to know that it is damaged."""
    Path('decord.py').write_text(
        'test_dataloader = dict(dataset=dict(pipeline=[\n'
        '    dict(type="SafeDecordInit"),\n'
        '    dict(type="UniformSample", clip_len=8),\n'
        '    dict(type="SafeDecordDecode")]))\n')
    Path('none.py').write_text('')
    Path('list.txt').write_text('a.gif 0\nb.mp4 1\n')
    write_barcodes(Path('a.gif'), 'gif', pix_fmt='rgb8')
    write_barcodes(Path('b.mp4'), 'libx264')
    assert check('list.txt')[0] == 0
    code, lines = check('list.txt', '--config', 'decord.py')
    assert code == 1
    assert read_report()[0] == ('unreadable', 'a.gif')
    assert 'of a kind that SafePyAVInit reads' in '\n'.join(lines)
    assert 'it needs one transform that opens' in check(
        'list.txt', '--config', 'none.py')[0]


def test_transforms_of_mmaction(tmp_path):
    """They are read in parts, to the end."""
    path = write_barcodes(tmp_path / 'a.mp4', 'libx264', 70)
    pipeline = [dict(type='OpenCVInit'), dict(type='OpenCVDecode')]
    assert video_check.check_video(str(path), 70, False, pipeline).kind == ''
    assert video_check.check_video(str(path), 71, False,
                                   pipeline).kind == 'too short'


@pytest.fixture
def lists(check):
    """Two lists of five different videos, each with its own folder."""
    for index, name in enumerate(('t/a', 't/b', 't/c', 'v/d', 'v/e')):
        Path(name).parent.mkdir(exist_ok=True)
        write_video(Path(f'{name}.mp4'), 5 + index)
    Path('train.txt').write_text('a.mp4 0\nb.mp4 1\nc.mp4 2\n')
    Path('val.txt').write_text('d.mp4 0\ne.mp4 1\n')
    Path('names.txt').write_text('x\ny\nz\n')
    return 'val.txt', 'train.txt', '--data-prefix', 'v', 't'


def add(path, text):
    with open(path, 'a') as file:
        file.write(text)


def test_lines(lists, check):
    """What is wrong in each line, and the lists without it."""
    add(
        'train.txt', 'run\nc.mp4 3\ngone.mp4 1\n a.mp4 0\nx y.mp4 z\n'
        'b.mp4 -1\nb.mp4,1\n')
    code, lines = check(*lists, '--classes', 'names.txt', '--write-list',
                        'new/v.txt', 'new/t.txt')
    assert code == 1
    assert sorted(read_report()) == [('classes unused', ''),
                                     ('duplicate', 't/a.mp4'),
                                     ('missing', 't/gone.mp4'),
                                     ('wrong line', '10'), ('wrong line', '4'),
                                     ('wrong line', '5'), ('wrong line', '8'),
                                     ('wrong line', '9')]
    assert "train.txt:5: label 3 is not in [0, 3)" in '\n'.join(lines)
    assert ('classes unused: val.txt: 1 of 3 classes have no good video: 2'
            in lines)
    assert Path('new/v.txt').read_text() == 'd.mp4 0\ne.mp4 1\n'
    assert Path('new/t.txt').read_text() == 'a.mp4 0\nb.mp4 1\nc.mp4 2\n'
    # The new lists are good, but for the class that one does not have.
    check('new/v.txt', 'new/t.txt', *lists[2:])
    assert read_report() == [('classes unused', '')]


def test_videos_in_two_lists(lists, check):
    """By name and by content; the first one stays."""
    Path('v/f.mp4').write_bytes(Path('t/c.mp4').read_bytes())
    add('val.txt', 'f.mp4 2\n')
    add('train.txt', '../v/d.mp4 0\n')
    check(*lists, '--write-list', 'v.txt', 't.txt')
    assert sorted(read_report()) == [('classes unused', ''),
                                     ('in two lists', 't/c.mp4'),
                                     ('in two lists', 'v/d.mp4')]
    assert Path('v.txt').read_text() == Path('val.txt').read_text()
    assert Path('t.txt').read_text() == 'a.mp4 0\nb.mp4 1\n'


def test_videos_with_two_labels(lists, check):
    """Neither is known to be right."""
    Path('t/a2.mp4').write_bytes(Path('t/a.mp4').read_bytes())
    add('train.txt', 'b.mp4 2\na2.mp4 1\n')
    code, lines = check('train.txt', '--data-prefix', 't', '--write-list',
                        'train.txt')
    assert read_report()[:4] == [('two labels', 't/a.mp4'),
                                 ('two labels', 't/a2.mp4'),
                                 ('two labels', 't/b.mp4'),
                                 ('two labels', 't/b.mp4')]
    assert ('two labels: train.txt:1 t/a.mp4: label 0, but 1 as t/a2.mp4 of '
            'train.txt:5' in lines)
    assert Path('train.txt').read_text() == 'c.mp4 2\n'


def test_labels_far_apart_take_one_line(lists, check):
    Path('far.txt').write_text('a.mp4 0\nb.mp4 1999999999\n')
    code, lines = check('far.txt', '--data-prefix', 't')
    assert lines[-1] == ('classes unused: far.txt: 1999999998 of 2000000000 '
                         'classes have no good video: 1, 2, 3, 4, 5, 6, 7, 8, '
                         '9, 10, ...')


def test_one_list_without_a_good_line_does_not_stop_the_others(check):
    write_video(Path('a.mp4'), 5)
    Path('one.txt').write_text('none.mp4 0\n')
    Path('two.txt').write_text('a.mp4 0\n')
    code, _ = check('one.txt', 'two.txt', '--write-list', 'x.txt', 'y.txt')
    assert code.startswith("no line of 'one.txt' is good, 'x.txt' is not")
    assert ('missing', 'none.mp4') in read_report()
    assert Path('y.txt').read_text() == 'a.mp4 0\n'


def test_other_delimiters(check):
    write_video(Path('a b 1.mp4'), 5)
    Path('list.txt').write_text('a b 1.mp4\t0\n')
    assert check('list.txt')[0] == 1
    assert check('list.txt', '--delimiter', r'\t')[0] == 0


def test_no_good_line(check):
    Path('list.txt').write_text('a.mp4 0\n')
    code, _ = check('list.txt', '--write-list', 'good.txt')
    assert code == ("no line of 'list.txt' is good, 'good.txt' is not "
                    'written; fix the videos')
    assert not Path('good.txt').exists()


@pytest.mark.parametrize('arguments, message', [
    (('none.txt', ), "'none.txt' cannot be read .*No such file"),
    (('empty.txt', ), "'empty.txt' is empty"),
    (('a.mp4', ), 'a.mp4:1: the line holds a NUL'),
    (('folder', ), "folder 'folder' holds no video"),
    (('list.txt', '--classes', 'no'), "class_names 'no' is neither"),
    (('list.txt', '--out', 'a.mp4/x.csv'),
     "cannot write 'a.mp4.*another place"),
])
def test_bad_input(check, arguments, message):
    write_video(Path('a.mp4'), 5)
    Path('list.txt').write_text('a.mp4 0')
    Path('empty.txt').write_text('\n')
    Path('folder').mkdir()
    code, _ = check(*arguments)
    assert re.search(message, code)
    assert '\n' not in code


def test_bad_arguments(check, capsys):
    Path('folder').mkdir()
    for arguments in (['a', '--min-frames',
                       '1'], ['a', '--workers', '0'], ['a', '--timeout', '0'],
                      ['a', '--timeout',
                       'nan'], ['a', 'b', 'c', '--data-prefix', 'v',
                                't'], ['a', 'b', '--write-list',
                                       'c'], ['a', 'a'],
                      ['folder', '--write-list',
                       'c'], ['a', 'b', '--write-list', 'c',
                              './c'], ['a', '--write-list', 'report.csv']):
        assert check(*arguments)[0] == 2


def test_command(broken):
    """The exit code, and nothing of the decoders between the lines."""
    result = subprocess.run([sys.executable, TOOL, broken, '--workers', '1'],
                            capture_output=True)
    assert result.returncode == 1
    assert result.stderr.count(b'\n') == 1  # The progress bar is one line.
    assert b'19/19' in result.stderr
    kinds = [line.split(b':')[0] for line in result.stdout.splitlines()]
    assert set(kinds[5:]) == {
        b'truncated', b'too short', b'unreadable', b'duplicate'
    }


def write_frames(folder, count, start=1, name='img_{:05}.jpg', seed=0):
    folder.mkdir(parents=True)
    noise = np.random.default_rng(seed).integers(0, 256, (count, 24, 32, 3))
    for number, image in enumerate(noise, start):
        cv2.imwrite(str(folder / name.format(number)), image)


def test_folders_of_frames(check):
    """In folders and in lists of MMAction2's RawframeDataset."""
    for seed, name in enumerate(('a', 'b 1', 'c', 'd', 'e', 'f')):
        write_frames(Path('frames', name), 5, seed=seed)
    shutil.copytree('frames/a', 'frames/g')
    cv2.imwrite('frames/a/flow_x_00001.jpg', np.zeros((9, 9, 3)))
    Path('frames/c/img_00003.jpg').unlink()
    cv2.imwrite('frames/d/img_00004.jpg', np.zeros((9, 9, 3)))
    path = Path('frames/e/img_00005.jpg')
    path.write_bytes(path.read_bytes()[:300])
    for number in range(2, 6):
        Path(f'frames/f/img_0000{number}.jpg').unlink()

    options = '--filename-tmpl', 'img_{:05}.jpg'
    assert check('frames', *options)[0] == 1
    bad = [('unreadable', f'frames/{x}') for x in 'cdef']
    assert sorted(read_report()) == [('duplicate', 'frames/g'), *bad]

    lines = [
        'a 5 1', 'a 6 1', 'b 1 5 0', 'c 5 0', 'd 5 2', 'none 5 0', 'a 5', '',
        'h 5 1'
    ]
    for number in range(1, 6):  # MMAction2 counts from 1.
        target = Path(f'frames/h/img_0000{number - 1}.jpg')
        target.parent.mkdir(exist_ok=True)
        shutil.copy(f'frames/g/img_0000{number}.jpg', target)
    Path('list.txt').write_text('\n'.join(lines))
    code, printed = check('list.txt', '--data-prefix', 'frames',
                          '--write-list', 'good.txt')
    assert code == 1
    assert read_report() == [('truncated', 'frames/a'), ('wrong line', '3'),
                             ('unreadable', 'frames/c'), ('wrong line', '7'),
                             ('wrong line', '8'), ('unreadable', 'frames/h'),
                             ('unreadable', 'frames/d'),
                             ('missing', 'frames/none'),
                             ('classes unused', '')]
    assert 'the list says 6 frames, the folder has 5' in ''.join(printed)
    assert "'img_00003.jpg' is missing" in ''.join(printed)
    assert "not 'img_00001.jpg' but 'img_00000.jpg'" in ''.join(printed)
    assert Path('good.txt').read_text() == 'a 5 1\n'

    Path('list.txt').write_text('a 5 1 0\n')
    assert check('list.txt', '--data-prefix', 'frames',
                 '--multi-class')[0] == 0
    # A list of videos may look the same, unless the frames are named.
    check('list.txt', '--data-prefix', 'none', '--multi-class', *options)
    assert read_report()[0] == ('missing', 'none/a')
    Path('list.txt').write_bytes(codecs.BOM_UTF8 + b'a 5 1\nb 5 1\n')
    code, _ = check('list.txt', '--data-prefix', 'frames', *options)
    assert 'begins with a byte order mark' in code


def test_several_labels(check):
    for number, name in enumerate(('a', 'b 1', 'c')):
        write_video(Path(f'{name}.mp4'), 10 + number)
    Path('list.txt').write_text('a.mp4 0 2\nb 1.mp4 2\nc.mp4 3 0\n'
                                'a.mp4 2 0\nb 1.mp4 2 3\n')
    assert check('list.txt', '--multi-class')[0] == 1
    assert read_report() == [('duplicate', 'a.mp4'),
                             *[('two labels', 'b 1.mp4')] * 2,
                             ('classes unused', '')]
    assert check('list.txt')[0] == 1
    assert [x[0] for x in read_report()][:4] == ['wrong line'] * 4


def test_encodings_of_lists(check):
    name = os.fsdecode(b'caf\xe9')
    write_video(Path('a.mp4'), 10).rename(f'{name}.mp4')
    Path('list.txt').write_bytes(os.fsencode(f'{name}.mp4 0\n{name} 1 0\n'))
    code, printed = check('list.txt', '--write-list', 'good.txt')
    assert code == 1
    assert 'list.txt:2: byte 4 (0xe9) is not UTF-8' in ''.join(printed)
    assert Path('good.txt').read_bytes() == b'caf\xe9.mp4 0\n'
    Path(f'{name}.mp4').rename(f'{name}2.mp4')
    assert check('.')[0] == 0
    Path(f'{name}2.mp4').write_bytes(b'')
    assert check('.')[0] == 1
    assert read_report() == [('unreadable', r'caf\udce92.mp4')]


def test_report_outlives_an_interrupt(check, monkeypatch):
    for name in 'abc':
        Path(f'{name}.mp4').write_text(name)
    Path('list.txt').write_text('a.mp4 0\nb.mp4 0\nc.mp4 0\n')
    update = video_check.ProgressBar.update

    def interrupt(self):
        update(self)
        if self.completed == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(video_check.ProgressBar, 'update', interrupt)
    code, _ = check('list.txt', '--workers', '1', '--timeout', 'inf',
                    '--write-list', 'good.txt')
    assert code == 130
    assert [kind for kind, _ in read_report()] == ['unreadable'] * 2
    assert not Path('good.txt').exists()


def test_outputs_are_refused_before_the_work(check, monkeypatch):
    monkeypatch.setattr(list_check, 'read_source', None)
    Path('list.txt').touch()
    for option in ('--out', '--write-list'):
        code, _ = check('list.txt', option, 'list.txt/x.csv')
        assert code.startswith("cannot write 'list.txt/x.csv': ")
