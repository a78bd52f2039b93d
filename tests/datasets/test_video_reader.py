"""Videos of all kinds, whose frames show their own index."""
import os
import struct
from pathlib import Path

import av
import numpy as np
import pytest
from videos import (encode_barcodes, read_barcode, write_barcodes,
                    write_packed_mpeg4)

from projects.ila.datasets.decord_reader import DecordReader
from projects.ila.datasets.video_reader import VideoReader

DATA = Path(__file__).resolve().parents[1] / 'data/videos'
# Name, encoder and what is special.
KINDS = [
    ('open_gop.mp4', 'libx264', {
        'x264-params': 'open-gop=1:keyint=9:bframes=3'
    }),
    ('fragments.mp4', 'libx264', dict(movflags='frag_keyframe+empty_moov')),
    ('ten_bits.mkv', 'libx264', dict(pix_fmt='yuv420p10le')),
    ('interlaced.mp4', 'libx264', dict(flags='+ilme+ildct')),
    ('h264.ts', 'libx264', {}),
    ('h264.avi', 'libx264', {}),
    ('h264.flv', 'libx264', {}),
    ('raw.h264', 'libx264', {}),
    ('hevc.mp4', 'libx265', {
        'x265-params': 'log-level=none'
    }),
    ('mpeg4.avi', 'mpeg4', dict(bf='2')),
    ('odd_size.mp4', 'mpeg4', dict(size=(83, 61))),
    ('mpeg2.ts', 'mpeg2video', dict(g='12')),
    ('interlaced.mpg', 'mpeg2video', dict(flags='+ildct+ilme', bf='2')),
    ('mpeg1.mpg', 'mpeg1video', {}),
    ('av1.mp4', 'libsvtav1', dict(preset='12')),
    ('motion.avi', 'mjpeg', dict(pix_fmt='yuvj420p')),
    ('wmv.wmv', 'wmv2', {}),
    ('h263.3gp', 'h263', dict(size=(176, 144))),
    ('prores.mov', 'prores_ks', dict(pix_fmt='yuv422p10le')),
    ('animation.gif', 'gif', dict(pix_fmt='rgb8')),
    ('animation.apng', 'apng', dict(pix_fmt='rgb24')),
]


def read(path, indices=None, reader_type=VideoReader):
    """Read the numbers that are drawn in frames, by default in all."""
    reader = reader_type(Path(os.fspath(path)).read_bytes())
    if indices is None:
        indices = range(len(reader))
    return [read_barcode(image) for _, image in reader.iter_frames(indices)]


def check(path, expected=range(40)):
    """Check all frames, and that single ones are the same."""
    expected = list(expected)
    assert read(path) == expected
    for indices in ([0, len(expected) - 1], [len(expected) // 3], [9, 2, 8]):
        assert read(path, indices) == [expected[x] for x in sorted(indices)]
    VideoReader(path.read_bytes()).check()


def edit(path, box, offset, layout, *values):
    """Overwrite numbers in an MP4 file, from the name of a box on."""
    content = bytearray(path.read_bytes())
    struct.pack_into(layout, content, content.index(box) + offset, *values)
    path.write_bytes(content)


def set_matrix(path, matrix):
    """Set the display matrix ``a, b, c, d`` of an MP4 file."""
    a, b, c, d = (round(x * 2**16) for x in matrix)
    edit(path, b'tkhd', 44, '>9i', a, b, 0, c, d, 0, 0, 0, 1 << 30)


@pytest.mark.parametrize('name, codec, kwargs', KINDS)
def test_every_frame_of_every_kind(tmp_path, name, codec, kwargs):
    path = write_barcodes(tmp_path / name, codec, **kwargs)
    check(path)
    assert VideoReader(path.read_bytes()).fps == pytest.approx(25)


@pytest.mark.parametrize(
    'name',
    ['theora.ogv', 'vp8_hidden_frames.webm', 'vp9.webm', 'vp8_live.webm'])
def test_every_frame_of_stored_videos(name):
    """Decord takes the place of PyAV's encoders for them, or there is none.

    The live one is as browsers record, with a clock of milliseconds and
    without a duration.
    """
    path = DATA / name
    check(path, range(24))
    reader = VideoReader(path.read_bytes())
    assert reader.fps == pytest.approx(25, rel=1e-3)
    assert reader.duration == pytest.approx(24 / 25, rel=1e-3)
    if 'live' in name:
        with av.open(str(path)) as container:
            assert container.streams.video[0].average_rate == 1000


def test_b_frames_in_the_packet_of_another_frame(tmp_path):
    """As XviD and DivX write AVI files."""
    check(write_packed_mpeg4(tmp_path / 'video.avi'))


def test_varying_frame_rate(tmp_path):
    times = [index + 3 * (index // 10) for index in range(40)]
    path = write_barcodes(tmp_path / 'video.mp4', 'libx264', times=times)
    check(path)
    fps = VideoReader(path.read_bytes()).fps
    assert fps == pytest.approx(40 / 49 * 25, rel=0.05)


@pytest.mark.parametrize('start, end', [(0, 38), (11, 40), (7, 29)])
def test_edit_lists(tmp_path, start, end):
    """Which cut frames off without encoding the others again."""
    path = write_barcodes(tmp_path / 'video.mp4', 'libx264', bf='0')
    content = path.read_bytes()
    per_second, = struct.unpack_from('>I', content,
                                     content.index(b'mdhd') + 16)
    edit(path, b'elst', 12, '>Ii', 40 * (end - start),
         per_second * start // 25)
    check(path, range(start, end))


def test_bytes_after_the_end(tmp_path):
    path = write_barcodes(tmp_path / 'video.mp4', 'libx264')
    path.write_bytes(path.read_bytes() + b'abcdefgh12')
    check(path)


def test_largest_stream_that_is_no_cover(tmp_path):
    path = tmp_path / 'video.mp4'
    with av.open(str(path), 'w') as container:
        packets = [
            packet
            for size, codec, number, pix_fmt in (((32, 24), 'libx264', 10,
                                                  'yuv420p'), ((64,
                                                                48), 'libx264',
                                                               40, 'yuv420p'),
                                                 ((320, 240), 'mjpeg', 1,
                                                  'yuvj420p'))
            for packet in encode_barcodes(
                container, codec, range(number), size, pix_fmt=pix_fmt)
        ]
        cover = container.streams.video[2]
        cover.disposition = av.stream.Disposition.attached_pic
        for packet in packets:
            container.mux(packet)
    check(path)


def test_frames_of_other_sizes_get_that_of_the_first(tmp_path):
    """As calls change it when the connection gets worse."""
    parts = [
        write_barcodes(tmp_path / f'{size[0]}.ts', 'libx264', 12, size=size)
        for size in ((64, 48), (128, 96))
    ]
    path = tmp_path / 'video.ts'
    path.write_bytes(b''.join(part.read_bytes() for part in parts))
    check(path, [*range(12), *range(12)])
    reader = VideoReader(path.read_bytes())
    shapes = {image.shape for _, image in reader.iter_frames(range(24))}
    assert shapes == {(48, 64, 3)}


MATRICES = [(a, 0, 0, d) for a in (1, -1) for d in (1, -1)]
MATRICES += [(0, b, c, 0) for b in (1, -1) for c in (1, -1)]


@pytest.mark.parametrize('matrix', MATRICES)
def test_turned_and_mirrored(tmp_path, matrix):
    """By where the matrix moves each pixel."""
    path = write_barcodes(tmp_path / 'video.mp4', 'libx264', 11, crf='1')
    _, plain = next(VideoReader(path.read_bytes()).iter_frames([10]))
    set_matrix(path, matrix)
    a, b, c, d = matrix
    height, width = plain.shape[:2]
    y, x = np.mgrid[:height, :width]
    column, row = a * x + c * y, b * x + d * y
    column, row = column - column.min(), row - row.min()
    expected = np.empty((row.max() + 1, column.max() + 1, 3), np.uint8)
    expected[row, column] = plain
    _, image = next(VideoReader(path.read_bytes()).iter_frames([10]))
    np.testing.assert_array_equal(image, expected)


def test_turned_by_another_angle(tmp_path):
    """The centre stays where it is, what is left of it moves."""
    path = write_barcodes(
        tmp_path / 'video.mp4', 'libx264', 11, crf='1', size=(64, 64))
    # Number 7 is black but for the right three eighths.
    set_matrix(path, (0.8, 0.6, -0.6, 0.8))
    _, image = next(VideoReader(path.read_bytes()).iter_frames([7]))
    assert image.shape == (64, 64, 3)
    y, x = np.mgrid[:64, :64] - 31.5
    # Clockwise: what is seen at (x, y) was at the turned back place.
    expected = 0.8 * x + 0.6 * y > 8
    inside = (np.hypot(x, y) < 28) & (abs(0.8 * x + 0.6 * y - 8) > 3)
    assert ((image[..., 0] > 127) == expected)[inside].all()


def test_unneeded_frames_are_not_decoded(tmp_path):
    path = write_barcodes(tmp_path / 'video.mp4', 'libx264')
    reader = VideoReader(path.read_bytes())
    assert len(reader) == 40
    stamps = {reader._stamps[0], reader._stamps[39]}
    decoded = list(reader._decode(stamps=stamps))
    assert 2 <= len(decoded) < 40
    # Afterwards, and again, it gives whatever is asked for.
    for _ in range(2):
        frames = dict(reader.iter_frames(range(40)))
        assert [*map(read_barcode, frames.values())] == list(range(40))


@pytest.mark.parametrize('b_frames', ['0', '2'])
def test_wrong_time_stamps_do_not_give_wrong_frames(tmp_path, b_frames):
    path = tmp_path / 'video.mkv'
    with av.open(str(path), 'w') as container:
        packets = list(
            encode_barcodes(container, 'libx264', range(40), bf=b_frames))
        packets.sort(key=lambda packet: packet.pts)
        packets[10].pts, packets[11].pts = packets[11].pts, packets[10].pts
        packets.sort(key=lambda packet: packet.dts)
        for packet in packets:
            packet.dts -= 1000
            container.mux(packet)
    check(path)


def test_frames_that_are_not_kept_are_decoded_again(tmp_path, monkeypatch):
    path = write_barcodes(tmp_path / 'video.avi', 'mpeg4')
    monkeypatch.setattr('projects.ila.datasets.video_reader._MAX_KEPT', 30000)
    check(path)


def test_threads_change_nothing(tmp_path):
    for name, codec in (('video.mp4', 'libx264'), ('video.avi', 'mpeg4')):
        path = write_barcodes(tmp_path / name, codec, 200)
        reader = VideoReader(path.read_bytes(), num_threads=4)
        indices = [3, 50, 51, 77, 199]
        images = dict(reader.iter_frames(indices))
        assert [*map(read_barcode, images.values())] == indices


def test_decord_gives_the_same_frames(tmp_path):
    for name, codec in (('video.mp4', 'libx264'), ('video.mkv', 'mpeg4')):
        path = write_barcodes(tmp_path / name, codec)
        assert read(path, reader_type=DecordReader) == list(range(40))
        reader = DecordReader(path.read_bytes())
        assert reader.fps == pytest.approx(25)
        # Each call begins at the start again.
        for indices in ([30], [2, 31]):
            images = dict(reader.iter_frames(indices))
            assert [*map(read_barcode, images.values())] == indices


def test_decord_does_not_call_what_it_cannot_read_damaged(tmp_path):
    path = write_barcodes(tmp_path / 'video.gif', 'gif', pix_fmt='rgb8')
    with pytest.raises(ValueError, match='of a kind that SafePyAVInit reads'):
        DecordReader(path.read_bytes())
