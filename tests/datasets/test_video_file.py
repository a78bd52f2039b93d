"""Files that are no whole video, and storages that are no disk."""
import os
import random
import socket
import struct
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import av
import pytest
from mmengine.fileio import BaseStorageBackend, FileClient
from videos import write_barcodes, write_h264, write_video

from mmaction.registry import DATASETS, TRANSFORMS
from projects.ila.datasets.video_check import check_video, check_videos
from projects.ila.datasets.video_file import declared_size
from projects.ila.datasets.video_reader import VideoReader

READERS = ('SafePyAV', 'SafeDecord')


def open_video(path, reader='SafePyAV', **kwargs):
    transform = TRANSFORMS.build(dict(type=f'{reader}Init', **kwargs))
    return transform(dict(filename=os.fspath(path)))


@pytest.fixture
def listener():
    """A socket that must not be connected to."""
    with socket.create_server(('127.0.0.1', 0)) as server:
        yield server
        server.settimeout(0.1)
        with pytest.raises(TimeoutError):
            server.accept()


@pytest.mark.parametrize('reader', READERS)
def test_lists_of_other_files_are_refused(tmp_path, listener, reader):
    """They open neither URLs nor files, whatever follows them."""
    whole = write_barcodes(tmp_path / 'whole.ts', 'libx264')
    address = '127.0.0.1:%d' % listener.getsockname()[1]
    playlist = '#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n{}\n'
    texts = {
        'an HLS playlist': [
            playlist.format(f'http://{address}/a.ts'),
            playlist.format(f'file://{whole}'),
            playlist.format(whole.name),
        ],
        'an ffconcat list': [f"ffconcat version 1.0\nfile '{whole}'\n"],
        'an SDP session': [
            'v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n'
            'm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n'
        ],
        'a DASH manifest': [
            '<?xml version="1.0"?>\n<MPD profiles="urn:mpeg:dash:profile:isoff-'
            f'live:2011"><BaseURL>http://{address}/</BaseURL></MPD>'
        ]
    }
    path = tmp_path / 'video.mp4'
    for words, contents in texts.items():
        for content in contents:
            for rest in (b'', whole.read_bytes()):
                path.write_bytes(content.encode() + rest)
                with pytest.raises(ValueError, match=words):
                    open_video(path, reader)


def test_formats_of_devices_and_text_are_refused(tmp_path):
    contents = {
        'text.mp4': b'no video\n' * 99,
        'page.mp4': b'<html><body>404</body></html>',
        'picture.mp4': b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        'noise.mp4': random.Random(0).randbytes(5000),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match='not that of a video file'):
            open_video(tmp_path / name)


@pytest.mark.parametrize('reader', READERS)
def test_what_is_no_file_is_reported_at_once(tmp_path, reader):
    os.mkfifo(tmp_path / 'pipe.mp4')
    (tmp_path / 'folder.mp4').mkdir()
    (tmp_path / 'link.mp4').symlink_to('nowhere.mp4')
    cases = {
        'pipe.mp4': 'unreadable: it is a pipe, not a file',
        'folder.mp4': 'unreadable: it is a folder, not a file',
        '/dev/zero': 'unreadable: it is a device or socket, not a file',
        'link.mp4': "missing: it is a link to 'nowhere.mp4', which is missing",
        'none.mp4': 'missing: there is no such file',
    }
    found = check_videos([str(tmp_path / name) for name in cases])
    for (name, words), result in zip(cases.items(), found.values()):
        assert f'{result.kind}: {result.reason}' == words
        # One is added to a path without a suffix.
        if name != '/dev/zero':
            with pytest.raises((OSError, ValueError)) as caught:
                open_video(tmp_path / name, reader)
            assert str(caught.value) == result.reason


def write_sound(path, format=None):
    """Write a second of silence."""
    with av.open(str(path), 'w', format=format) as container:
        stream = container.add_stream('libopus', rate=48000)
        frame = av.AudioFrame(format='s16', layout='mono', samples=48000)
        frame.rate = 48000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def write_truncated(folder):
    """Write whole videos of all containers that say how long they are."""
    write_h264(folder / 'a.mp4')
    write_h264(folder / 'a.mkv')
    write_h264(folder / 'a.flv')
    write_h264(folder / 'a.ts')
    write_video(folder / 'a.avi', fourcc='MJPG')
    write_barcodes(folder / 'a.gif', 'gif', pix_fmt='rgb8')
    write_sound(folder / 'a.ogv', 'ogg')
    return sorted(folder.iterdir())


def test_truncated_files(tmp_path):
    for path in write_truncated(tmp_path):
        content = path.read_bytes()
        assert declared_size(content) <= len(content)
        for length in (len(content) // 2, len(content) * 9 // 10,
                       len(content) - 5):
            length -= length % 188 == 0
            path.write_bytes(content[:length])
            with pytest.raises(ValueError, match='truncated, it has'):
                open_video(path)


@pytest.mark.parametrize('name', ['video.mkv', 'video.avi', 'video.ts'])
def test_damaged_frames(tmp_path, name):
    path = tmp_path / name
    write_h264(path, 100, (160, 120))
    content, draw = bytearray(path.read_bytes()), random.Random(0)
    for _ in range(1500):
        place = draw.randrange(len(content) * 3 // 10, len(content) * 7 // 10)
        content[place] = draw.randrange(256)
    path.write_bytes(content)
    result = check_video(str(path))
    assert result.kind == 'unreadable' and 'damaged' in result.reason
    with pytest.raises(ValueError, match='damaged|missing|can be decoded'):
        reader = VideoReader(path.read_bytes())
        list(reader.iter_frames(range(0, len(reader), 2)))


def test_videos_without_two_frames(tmp_path):
    write_barcodes(
        tmp_path / 'still.mp4', 'mjpeg', 1, 'mjpeg',
        pix_fmt='yuvj420p')  # A JPEG file.
    write_barcodes(tmp_path / 'one.mp4', 'libx264', 1)
    for name in ('still.mp4', 'one.mp4'):
        with pytest.raises(ValueError, match='the video has only 1'):
            open_video(tmp_path / name)
        assert check_video(str(tmp_path / name)).kind == 'too short'
    # Its frames lie elsewhere: the box with them has another name.
    path = write_barcodes(tmp_path / 'elsewhere.avi', 'mpeg4')
    path.write_bytes(path.read_bytes().replace(b'00dc', b'JUNK'))
    with pytest.raises(ValueError, match='none of its frames can be decoded'):
        open_video(path)
    path = tmp_path / 'sound.mp4'
    write_sound(path)
    with pytest.raises(ValueError, match='holds no video stream'):
        open_video(path)
    (tmp_path / 'empty.mp4').touch()
    with pytest.raises(ValueError, match='the file is empty'):
        open_video(tmp_path / 'empty.mp4')


def test_sizes_that_are_not_there(tmp_path):
    """A header that claims gigabytes is refused, not believed."""
    gif = write_barcodes(tmp_path / 'a.gif', 'gif', pix_fmt='rgb8')
    content = bytearray(gif.read_bytes())
    struct.pack_into('<HH', content, 6, 65000, 65000)
    gif.write_bytes(content)
    mp4 = write_barcodes(tmp_path / 'a.mp4', 'libx264')
    content = bytearray(mp4.read_bytes())
    struct.pack_into('>I', content, content.index(b'stsz') + 12, 2**32 - 1)
    mp4.write_bytes(content)
    for path, words in ((gif, 'more than 67108864 pixels'),
                        (mp4, 'headers are damaged')):
        with pytest.raises(ValueError, match=words):
            open_video(path)


def test_names_that_are_not_utf8(tmp_path):
    name = os.fsdecode(b'caf\xe9.mp4')
    write_barcodes(tmp_path / 'a.mp4', 'libx264').rename(tmp_path / name)
    assert open_video(tmp_path / name)['total_frames'] == 40
    assert check_videos([str(tmp_path / name)
                         ])[str(tmp_path / name)].kind == ''


def test_names_without_an_ending(tmp_path):
    """They are taken for `.mp4` unless there is such a file."""
    write_barcodes(tmp_path / 'a.mp4', 'libx264', 7)
    assert open_video(tmp_path / 'a')['total_frames'] == 7
    write_barcodes(tmp_path / 'b.mp4', 'libx264', 9).rename(tmp_path / 'a')
    assert open_video(tmp_path / 'a')['total_frames'] == 9


class MemoryBackend(BaseStorageBackend):
    """A storage that gives views of memory, as Petrel's does."""
    contents = {}

    def get(self, filepath):
        content = self.contents.get(filepath)
        return None if content is None else memoryview(content)

    def get_text(self, filepath):
        raise NotImplementedError


class Handler(SimpleHTTPRequestHandler):

    def log_message(self, *args):
        pass


@pytest.mark.parametrize('reader', READERS)
@pytest.mark.parametrize('storage', ['memory', 'http'])
def test_other_storages(tmp_path, monkeypatch, reader, storage):
    """A data set asks them for nothing but the videos."""
    monkeypatch.setitem(FileClient._backends, 'memory', MemoryBackend)
    content = write_barcodes(tmp_path / 'a.mp4', 'libx264').read_bytes()
    (tmp_path / 'list.txt').write_text('a.mp4 1\nb.mp4 0\n')
    server = ThreadingHTTPServer(('127.0.0.1', 0),
                                 partial(Handler, directory=tmp_path))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    prefix, ann_file = 'bucket:videos', str(tmp_path / 'list.txt')
    if storage == 'http':
        prefix = 'http://127.0.0.1:%d' % server.server_port
        ann_file = f'{prefix}/list.txt'
    MemoryBackend.contents = {f'{prefix}/a.mp4': content}
    try:
        dataset = DATASETS.build(
            dict(
                type='ILAVideoDataset',
                ann_file=ann_file,
                data_prefix=dict(video=prefix),
                pipeline=[
                    dict(type=f'{reader}Init', io_backend=storage),
                    dict(type='UniformSample', clip_len=8),
                    dict(type=f'{reader}Decode'),
                    dict(type='FormatShape', input_format='NCTHW'),
                    dict(type='PackActionInputs')
                ]))
        assert dataset[0]['inputs'].shape == (1, 3, 8, 48, 64)
        with pytest.raises(
                RuntimeError,
                match=f'{prefix}/b.mp4.*(404|no such '
                'file in the storage)'):
            dataset[1]
    finally:
        server.shutdown()
        server.server_close()
