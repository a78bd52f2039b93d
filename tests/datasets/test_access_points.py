"""Frames of videos in which decoding can begin in several places."""
import random
from pathlib import Path

import av
import numpy as np
import pytest
from videos import moving_noise, open_encoder

from projects.ila.datasets.access_points import find_access_points
from projects.ila.datasets.video_reader import VideoReader

NUM_FRAMES = 48
H264 = 'scenecut=0:keyint=8:min-keyint=8'
HEVC = 'log-level=none:scenecut=0:keyint=8:min-keyint=8'
# Name, encoder, its parameters and the number of access points.
KINDS = [
    ('closed.mp4', 'libx264', H264, 6),
    ('closed.mkv', 'libx264', H264, 6),
    ('closed.flv', 'libx264', H264, 6),
    ('pyramid.mp4', 'libx264', f'{H264}:bframes=7:b-pyramid=normal:ref=6', 6),
    ('no_b_frames.mp4', 'libx264', f'{H264}:bframes=0', 6),
    ('repeated.mp4', 'libx264', f'{H264}:repeat-headers=1', 6),
    ('odd.mp4', 'libx264', 'keyint=11:min-keyint=1:bframes=5', None),
    ('open.mp4', 'libx264', f'{H264}:open-gop=1:bframes=3', 1),
    ('refresh.mp4', 'libx264', f'{H264}:intra-refresh=1', 1),
    ('one_group.mp4', 'libx264', 'scenecut=0:keyint=250', 1),
    ('closed_hevc.mp4', 'libx265', f'{HEVC}:open-gop=0', 6),
    ('closed_hevc.mkv', 'libx265', f'{HEVC}:open-gop=0', 6),
    ('repeated_hevc.mp4', 'libx265', f'{HEVC}:open-gop=0:repeat-headers=1', 6),
    ('open_hevc.mp4', 'libx265', f'{HEVC}:open-gop=1', 1),
    ('groups.avi', 'mpeg4', None, None),
    ('groups.webm', 'libsvtav1', None, None),
]


def write(path: Path, codec: str, parameters: str, irregular: bool = False):
    """Write moving noise, of which every frame refers to others."""
    options = dict(g='8')
    if parameters:
        options = {codec.replace('lib', '') + '-params': parameters}
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, 'yuv420p'
        open_encoder(stream)
        for place, image in enumerate(moving_noise(NUM_FRAMES, (64, 48))):
            frame = av.VideoFrame.from_ndarray(image, format='rgb24')
            frame.pts = place + (3 * (place // 5) if irregular else 0)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def decode_all(path: Path):
    """Decode all frames, with PyAV alone."""
    with av.open(str(path)) as container:
        return [
            frame.to_ndarray(format='rgb24')
            for frame in container.decode(video=0)
        ]


def check(path: Path):
    """Compare choices of frames with all; return the reader."""
    expected = decode_all(path)
    assert len(expected) == NUM_FRAMES
    draw = random.Random(0)
    choices = [[index] for index in range(NUM_FRAMES)]
    choices += [draw.sample(range(NUM_FRAMES), 3) for _ in range(10)]
    for number, indices in enumerate(choices):
        # A reader may have been used before.
        if number % 5 == 0:
            reader = VideoReader(path.read_bytes())
        frames = dict(reader.iter_frames(indices))
        assert list(frames) == sorted(indices)
        for index, image in frames.items():
            np.testing.assert_array_equal(image, expected[index])
    return reader


@pytest.mark.parametrize('name, codec, parameters, number', KINDS)
def test_any_frame_is_that_of_decoding_all(tmp_path, name, codec, parameters,
                                           number):
    reader = check(write(tmp_path / name, codec, parameters))
    if number is None:
        return
    points = find_access_points(reader._packets, reader._decoder)
    assert len(points) == number
    assert set(points.values()) == ({True} if 'repeated' in name or number == 1
                                    else {True, False})


@pytest.mark.parametrize('codec, parameters', [('libx264', H264),
                                               ('libx265', HEVC)])
def test_varying_frame_rate(tmp_path, codec, parameters):
    check(write(tmp_path / 'video.mp4', codec, parameters, irregular=True))


def test_only_the_wanted_groups_are_decoded(tmp_path):
    path = write(tmp_path / 'video.mp4', 'libx264', H264)
    reader = VideoReader(path.read_bytes())
    decoded = []
    decode = reader._decode
    reader._decode = lambda packets, stamps: decoded.extend(packets) or decode(
        packets, stamps)
    dict(reader.iter_frames([19, 21, 41]))
    # The first packet may hold what all others need.
    expected = [*range(1), *range(16, 24), *range(40, 48)]
    assert [id(x) for x in decoded
            ] == [id(reader._packets[place]) for place in expected]


def test_parameter_sets_amid_a_group(tmp_path):
    """Which later packets may need: then nothing is left out."""
    path = write(tmp_path / 'video.mp4', 'libx264', H264)
    reader = VideoReader(path.read_bytes())
    packets = list(reader._packets)
    assert len(find_access_points(packets, reader._decoder)) == 6
    picture_parameters = b'\0\0\0\2\x68\xff'
    packet = av.Packet(picture_parameters + bytes(packets[10]))
    packet.pts = packets[10].pts
    packets[10] = packet
    assert find_access_points(packets, reader._decoder) == {0: True}


def test_times_that_contradict_the_groups(tmp_path):
    """A group whose frames are shown among those of another one."""
    path = write(tmp_path / 'video.mp4', 'libx264', f'{H264}:bframes=0')
    reader = VideoReader(path.read_bytes())
    packets = reader._packets
    packets[15].pts, packets[16].pts = packets[16].pts, packets[15].pts
    points = find_access_points(packets, reader._decoder)
    assert sorted(points) == [0, 8, 24, 32, 40]
