import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import av
import pytest
from mmengine.utils import ProgressBar
from modules import load_module
from videos import read_barcode, write_barcodes, write_h264

from projects.ila.datasets.video_reader import VideoReader

TOOL = Path(__file__).resolve().parents[2] / 'tools/data/resize_videos.py'
tool = load_module(TOOL)


@pytest.fixture
def resize(monkeypatch, capsys, tmp_path):
    """Run the tool in an own folder; return its exit code and its lines."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tool, 'exit_on_sigterm', lambda: None)
    (tmp_path / 'videos/sub').mkdir(parents=True)

    def run(*arguments):
        monkeypatch.setattr(sys, 'argv',
                            [str(TOOL), '--workers', '2', *arguments])
        with pytest.raises(SystemExit) as error:
            tool.main()
        return error.value.code, capsys.readouterr().out.splitlines()

    return run


def test_copies_have_the_same_frames(resize, tmp_path):
    videos, out = tmp_path / 'videos', tmp_path / 'out'
    write_barcodes(videos / 'sub/a b.mp4', 'libx264', size=(192, 96))
    write_barcodes(videos / 'small.avi', 'mpeg4', size=(64, 48))
    write_barcodes(videos / 'c.mkv', 'mpeg4', size=(126, 95), rate=10)
    (videos / 'bad.mp4').write_text('no video\n' * 99)
    code, lines = resize('videos', '--out', 'out', '--short-side', '64',
                         '--gop', '8')
    assert code == 1
    assert lines[0] == '3 of 4 videos are in out'
    assert lines[1].startswith('videos/bad.mp4: the content is not that of a')
    sizes = {
        'sub/a b.mp4': (64, 128),
        'small.mp4': (48, 64),
        'c.mkv': (64, 84)
    }
    found = {str(x.relative_to(out)) for x in out.rglob('*.*')}
    assert found == sizes.keys()
    for name, size in sizes.items():
        reader = VideoReader((out / name).read_bytes())
        frames = dict(reader.iter_frames(range(40)))
        assert [*map(read_barcode, frames.values())] == list(range(40))
        assert {x.shape for x in frames.values()} == {(*size, 3)}
        assert reader.fps == pytest.approx(10 if name == 'c.mkv' else 25)
        with av.open(str(out / name)) as container:
            keys = [x.is_keyframe for x in container.demux(video=0) if x.size]
        assert all(any(keys[x:x + 8]) for x in range(32))
        assert len(reader._access_points) >= 5


def test_copies_that_exist_stay(resize, tmp_path):
    write_h264(tmp_path / 'videos/a.mp4', 20)
    write_h264(tmp_path / 'videos/b.mp4', 20)
    assert resize('videos', '--out', 'out')[0] == 0
    (tmp_path / 'out/a.mp4').write_text('kept')
    (tmp_path / 'out/b.mp4').unlink()
    assert resize('videos', '--out',
                  'out') == (False, ['2 of 2 videos are in out'])
    assert (tmp_path / 'out/a.mp4').read_text() == 'kept'
    assert len(VideoReader((tmp_path / 'out/b.mp4').read_bytes())) == 20


@pytest.mark.parametrize('out', ['videos', 'videos/copies'])
def test_copies_do_not_join_the_videos(resize, tmp_path, out):
    write_h264(tmp_path / 'videos/a.mp4', 20)
    content = (tmp_path / 'videos/a.mp4').read_bytes()
    code, _ = resize('videos', '--out', out)
    assert 'would join; choose another folder' in code
    assert (tmp_path / 'videos/a.mp4').read_bytes() == content


def test_two_videos_with_one_copy(resize, tmp_path):
    for name in ('a.avi', 'a.mp4'):
        write_h264(tmp_path / 'videos' / name, 20)
    code, _ = resize('videos', '--out', 'out')
    assert "'videos/a.avi' and 'videos/a.mp4' would both become" in code


def test_ctrl_c_leaves_what_is_known(resize, tmp_path, monkeypatch):
    (tmp_path / 'videos/a.mp4').write_text('no video')
    write_h264(tmp_path / 'videos/b.mp4', 20)
    update = ProgressBar.update

    def interrupt(self):
        update(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(ProgressBar, 'update', interrupt)
    code, lines = resize('videos', '--out', 'out')
    assert code == 130
    assert lines[0] == '0 of 2 videos are in out'
    assert lines[1].startswith('videos/a.mp4: the content is not')


def test_sigterm_ends_all_processes(tmp_path):
    """Once the videos that are begun are copied."""
    (tmp_path / 'videos').mkdir()
    for name in 'abcdefgh':
        write_h264(tmp_path / f'videos/{name}.mp4', 60)
    command = [sys.executable, TOOL, 'videos', '--out', 'out', '--workers']
    process = subprocess.Popen([*command, '1'],
                               cwd=tmp_path,
                               start_new_session=True)
    try:
        out = tmp_path / 'out'
        deadline = time.monotonic() + 120
        while not [*out.glob('*.mp4')]:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.terminate()
        assert process.wait(120) == 143
        assert len([*out.glob('*.mp4')]) < 8
        assert not [*out.glob('*.partial')]
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_an_ended_process_is_told(resize, tmp_path, monkeypatch):
    write_h264(tmp_path / 'videos/a.mp4', 20)
    monkeypatch.setattr('projects.ila.datasets.video_resizing.VideoReader',
                        lambda content: sys.modules['os']._exit(3))
    code, _ = resize('videos', '--out', 'out')
    assert 'a process ended within a video' in code
