import numpy as np
import pytest

from projects.ila.models.alignment import Pairs
from projects.ila.visualization import DrawingStyle, draw_frame, draw_overlay

GREEN = np.array([0, 200, 0])


def areas(picture, brightness):
    """Columns and rows of the pixels that are green, as bright as given."""
    rows, columns = np.nonzero((picture == GREEN * brightness).all(-1))
    return columns, rows


def test_masked_pixels_are_darker():
    """A frame, whole at the left, and its lower right quarter at the right."""
    frames = np.tile(GREEN.astype(np.uint8), (3, 64, 64, 1))
    points = np.full((2, 2, 2, 2), -1.)
    points[1] = 1.
    # All but the outermost of 2 x 2 patches is masked.
    pictures = draw_overlay(
        frames, points, DrawingStyle(32, 0., 9., layers=[1], title='a.mp4'))
    assert pictures.shape[0] == 3 and pictures.dtype == np.uint8
    assert all(x.shape == pictures[0].shape for x in pictures)
    for picture in pictures:
        columns, rows = areas(picture, 1)
        dark_columns, dark_rows = areas(picture, 0.25)
        left = columns < dark_columns.min()
        # Markers hide a part of what is not masked.
        area = left.sum()
        assert (~left).sum() == pytest.approx(area / 4, rel=0.1)
        assert len(dark_columns) == pytest.approx(area * 3 / 4, rel=0.02)
        assert columns[~left].mean() > dark_columns.mean()
        assert rows[~left].mean() > dark_rows.mean()


def test_blocks_keep_their_numbers():
    frames = np.tile(GREEN.astype(np.uint8), (2, 32, 32, 1))
    points = np.zeros((6, 1, 2, 2))
    points[2], points[5] = -1., 1.
    expected = draw_overlay(frames, points, DrawingStyle(layers=[2, 5]))
    some = points[[2, 5]]
    pictures = draw_overlay(frames, some, DrawingStyle(blocks=(2, 5)))
    assert np.array_equal(pictures, expected)
    assert not np.array_equal(draw_overlay(frames, some), expected)
    pictures = draw_overlay(frames, some,
                            DrawingStyle(layers=[5], blocks=(2, 5)))
    assert np.array_equal(
        pictures, draw_overlay(frames, points, DrawingStyle(layers=[5])))


@pytest.mark.parametrize('layers', [1, 12, 24])
def test_all_blocks_fit_on_a_screen(layers):
    frames = np.tile(GREEN.astype(np.uint8), (2, 16, 16, 1))
    points = np.zeros((layers, 1, 2, 2))
    first, second = draw_overlay(frames, points, DrawingStyle(4))
    height, width = first.shape[:2]
    assert height < width < 1300
    # They differ by the number of the frame and by the markers alone.
    assert 0 < (first != second).any(-1).mean() < 0.05


def test_any_shape_of_frames():
    frames = np.zeros((2, 16, 48, 3), np.uint8)
    wide = draw_overlay(frames, np.zeros((1, 1, 2, 2)), DrawingStyle(4))
    high = draw_overlay(
        frames.transpose(0, 2, 1, 3), np.zeros((1, 1, 2, 2)), DrawingStyle(4))
    assert wide.shape[1] < high.shape[1] and wide.shape[2] == high.shape[2]


RED = np.array([255, 0, 0])


def sharp(t, layer, points, style, size=64):
    frames = np.tile(GREEN.astype(np.uint8), (3, size, size, 1))
    return draw_frame(frames, points, style, t, layer, 10 * size)


def test_pixels_of_a_frame_stay_sharp():
    """The upper left of 2 x 2 patches is masked in, the rest is not."""
    points = np.full((1, 2, 2, 2), -1.)
    picture = sharp(0, 7, points, DrawingStyle(32, 0., 9., blocks=[7]))
    assert picture.shape == (640, 640, 3) and picture.dtype == np.uint8
    expected = np.full((640, 640, 3), GREEN * 0.25, np.uint8)
    expected[:320, :320] = GREEN
    # The marker is at the centre of the patch.
    away = np.hypot(*np.mgrid[-159.5:480, -159.5:480]) > 20
    assert np.array_equal(picture[away], expected[away])
    assert not np.array_equal(picture, expected)


def test_markers_of_a_frame():
    """Points are where ``to_pixels`` has them, each with its shape."""
    points = np.zeros((2, 2, 2, 2))
    points[1, 0] = [[-1, -1], [1, -1]]  # of frames 0 and 1
    points[1, 1] = [[-1, 1], [1, 1]]  # of frames 1 and 2
    corners = {(0, 0): 'o', (1, 0): 'x', (0, 1): 'o', (1, 1): 'x'}
    for t, expected in enumerate([[(0, 0)], [(1, 0), (0, 1)], [(1, 1)]]):
        picture = sharp(t, 1, points, DrawingStyle(16))
        assert np.array_equal(
            picture, sharp(t, 0, points[1:, ..., None, :], DrawingStyle(16)))
        red = (picture == RED).all(-1)
        for corner, marker in corners.items():
            # Centres of the outermost of 4 x 4 patches.
            x, y = (79.5 + 480 * place for place in corner)
            area = red[int(y) - 40:int(y) + 41, int(x) - 40:int(x) + 41]
            assert area.any() == (corner in expected)
            if area.any():
                rows, columns = np.nonzero(area)
                assert rows.mean() == pytest.approx(40, abs=1)
                assert columns.mean() == pytest.approx(40, abs=1)
                # A circle is empty in its middle, a cross is not.
                assert area[40, 40] == (marker == 'x')


def test_markers_of_all_pairs_of_a_frame():
    """The middle frame, number 1 of 3, is in both pairs."""
    points = np.zeros((1, 2, 2, 2))
    points[0, 0], points[0, 1] = -1, 1
    style = DrawingStyle(16, pairs=Pairs('middle'))
    counts = [(sharp(t, 0, points, style) == RED).all(-1).sum()
              for t in range(3)]
    assert counts[1] == counts[0] + counts[2]
    assert counts[0] > 0 < counts[2]


def test_large_frames_are_not_reduced():
    frames = np.zeros((2, 16, 48, 3), np.uint8)
    for width, expected in ((48, 48), (20, 48), (100, 96)):
        picture = draw_frame(frames, np.zeros((1, 1, 2, 2)), DrawingStyle(4),
                             0, 0, width)
        assert picture.shape[:2] == (expected // 3, expected)
