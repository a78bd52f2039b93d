import numpy as np
from PIL import Image, ImageSequence

from projects.ila.visualization import draw_trail, write_animation

SIDE = 88
GREEN = np.array([0, 200, 0], np.uint8)
FRAMES = np.tile(GREEN, (3, SIDE, SIDE, 1))
PLACES = np.array([[20, 60], [40, 60], [60, 20]])


def is_red(pixels):
    return (pixels[..., 0] > 150) & (pixels[..., 1] < 100)


def test_the_way_so_far_ends_in_a_ring():
    pictures = draw_trail(FRAMES, PLACES, np.ones((3, 2, 2), np.float32))
    for t, (x, y) in enumerate(PLACES):
        frame = pictures[t, :SIDE]
        # Its radius is a 22nd of the width.
        for column, row in ((x + 4, y), (x - 4, y), (x, y + 4), (x, y - 4)):
            assert is_red(frame[row, column])
        assert is_red(frame[60, 30]) == (t > 0)
        assert is_red(frame[40, 50]) == (t > 1)
        assert not is_red(frame[:, 70:]).any()


def test_masked_parts_are_darker():
    masks = np.zeros((3, 2, 2), np.float32)
    masks[:, 0, 0] = 1
    pictures = draw_trail(FRAMES, PLACES, masks, 'caption')
    masked = pictures[:, SIDE + 8:2 * SIDE + 8]
    assert (masked[:, 0, 0] == GREEN).all()
    assert (masked[:, -1, -1] == GREEN // 4).all()
    caption = pictures[:, 2 * SIDE + 8:]
    assert caption.min() < 50 and (caption[:, 0] == 255).all()


def test_animation(tmp_path):
    path = tmp_path / 'a.webp'
    videos = [
        np.stack([np.full((16, 24, 3), value, np.uint8) for value in values])
        for values in ((0, 100, 200), (200, 100, 0))
    ]
    write_animation(path, videos, fps=4, quality=100)
    with Image.open(path) as image:
        assert image.size == (24 + 8 + 24, 16)
        assert image.info['loop'] == 0
        durations = []
        for t, frame in enumerate(ImageSequence.Iterator(image)):
            pixels = np.asarray(frame.convert('RGB')).astype(int)
            durations.append(frame.info['duration'])
            for video, column in zip(videos, (4, 44)):
                assert abs(pixels[8, column] - video[t, 0, 0]).max() < 4
    assert durations == [250, 250, 1000]
