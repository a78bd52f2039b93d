import numpy as np
import pytest

from projects.ila.visualization import DrawingStyle, draw_overlay

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
