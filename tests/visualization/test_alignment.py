import matplotlib.pyplot as plt
import numpy as np
import pytest

from projects.ila.models.alignment import Pairs
from projects.ila.visualization import DrawingStyle, draw_alignment, draw_pairs


def shown(axis):
    image, = axis.get_images()
    return image.get_array()


def test_draw_alignment():
    frames = np.full((3, 9, 9, 3), 200, np.uint8)
    points = np.zeros((2, 2, 2, 2))
    points[1, 0, 0] = (0.75, -0.75)
    figure = draw_alignment(frames, points)
    axes = np.array(figure.axes).reshape(3, 3)
    # Without a mask, around the centre, and in the upper right corner.
    pictures = [shown(row[0]) for row in axes]
    assert np.array_equal(pictures[0], frames[0])
    assert tuple(pictures[1][4, 4]) == (200, 200, 200)
    assert tuple(pictures[1][0, 0]) == (50, 50, 50)
    assert tuple(pictures[2][1, 7]) == (200, 200, 200)
    assert tuple(pictures[2][8, 0]) == (50, 50, 50)
    # The point shared with the next frame, in pixels.
    assert axes[2, 0].lines[0].get_xydata()[0].tolist() == [7, 1]
    assert [len(axis.lines) for axis in axes[1]] == [1, 2, 1]


@pytest.mark.parametrize('column, row', [(0, 0), (4, 2), (1, 3)])
def test_points_and_masks_are_those_of_the_patches(column, row):
    """The frame has 4 x 5 patches of 6 pixels; one of them is not masked."""
    frames = np.full((2, 24, 30, 3), 100, np.uint8)
    points = np.empty((1, 1, 2, 2))
    points[..., 0] = -1 + 2 * column / 4
    points[..., 1] = -1 + 2 * row / 3
    figure = draw_alignment(frames, points, DrawingStyle(6, 0., 4.))
    axis = np.array(figure.axes).reshape(2, 2)[1, 1]
    bright = np.argwhere(shown(axis)[..., 0] == 100)
    assert len(bright) == 36
    assert (shown(axis) == 25).all(-1).sum() == 24 * 30 - 36
    line, = axis.lines
    np.testing.assert_allclose(line.get_xydata()[0], bright.mean(0)[::-1])
    assert line.get_marker() == 'x'


def test_chosen_blocks_and_title():
    """A name is no formula, a long one takes more lines and more room."""
    frames = np.zeros((2, 8, 8, 3), np.uint8)
    points = np.zeros((3, 1, 2, 2))
    points[2] = 0.5
    title = r'$\frac' + 60 * 'x' + '.mp4'
    figure = draw_alignment(frames, points,
                            DrawingStyle(layers=[2, 0], title=title))
    axes = np.array(figure.axes).reshape(3, 2)
    assert [axis.get_ylabel()
            for axis in axes[:, 0]] == ['frames', 'block 2', 'block 0']
    assert axes[1, 0].lines[0].get_xydata()[0].tolist() == [5.25, 5.25]
    assert axes[2, 0].lines[0].get_xydata()[0].tolist() == [3.5, 3.5]
    assert title in figure.get_suptitle().replace('\n', '')
    plain = draw_alignment(frames, points, DrawingStyle(layers=[2, 0]))
    assert figure.get_size_inches()[1] > plain.get_size_inches()[1]
    figure.draw_without_rendering()


def test_blocks_keep_their_numbers():
    """Blocks 1, 4 and 7 align; what is of them is drawn under their names."""
    frames = np.zeros((2, 8, 8, 3), np.uint8)
    points = np.zeros((3, 1, 2, 2))
    points[:, 0, 0, 0] = [-1, 0, 1]
    cosines = np.array([[0.1], [0.4], [0.7]])
    for layers, expected in ((None, [1, 4, 7]), ([7, 1], [7, 1])):
        style = DrawingStyle(layers=layers, blocks=(1, 4, 7))
        axes = draw_alignment(frames, points, style).axes[2::2]
        assert [axis.get_ylabel()
                for axis in axes] == [f'block {x}' for x in expected]
        assert [axis.lines[0].get_xdata()[0]
                for axis in axes] == [(x - 1) / 6 * 7 for x in expected]
        axes = draw_pairs(frames, points, cosines, style).axes
        assert [axis.get_ylabel()
                for axis in axes] == [f'block {x}' for x in expected]
        assert [axis.lines[0].get_xdata()[0]
                for axis in axes] == [(x - 1) / 6 * 7 for x in expected]
        assert [axis.get_xlabel()
                for axis in axes] == [f'cos 0.{x}0' for x in expected]


def test_no_figure_stays_open():
    draw_alignment(np.zeros((2, 8, 8, 3), np.uint8), np.zeros((1, 1, 2, 2)))
    assert not plt.get_fignums()


def draw_titled_pairs(layers, frames, title):
    """Pairs in their widest form."""
    return draw_pairs(
        np.zeros((frames, 16, 16, 3), np.uint8),
        np.zeros((layers, frames - 1, 2, 2)), -np.ones((layers, frames - 1)),
        DrawingStyle(4, title=title))


@pytest.mark.parametrize('layers, frames', [(1, 2), (1, 8), (4, 16)])
def test_texts_overlap_nothing(layers, frames):
    figure = draw_titled_pairs(layers, frames, 30 * 'long title ')
    figure.draw_without_rendering()
    boxes = [figure._suptitle.get_window_extent()]
    for axis in figure.axes:
        boxes += [axis.get_window_extent()]
        boxes += [
            text.get_window_extent()
            for text in (axis.title, axis.xaxis.label, axis.yaxis.label)
            if text.get_text()
        ]
    for index, box in enumerate(boxes):
        assert box.xmin >= 0 and box.xmax <= figure.bbox.xmax
        assert box.ymin >= 0 and box.ymax <= figure.bbox.ymax
        assert not box.count_overlaps(boxes[:index])


def test_other_target_and_several_points():
    """Frame 2 of 4 is in all pairs; each frame has two points per pair."""
    frames = np.full((4, 9, 9, 3), 200, np.uint8)
    frames[2] = 100
    points = np.zeros((1, 3, 2, 2, 2))
    points[:, :, :, 1] = (0.75, -0.75)
    points[0, 2, 1, 0] = (-0.75, 0.75)
    style = DrawingStyle(pairs=Pairs('middle'))
    axes = draw_alignment(frames, points, style).axes[4:]
    drawn = [[(line.get_marker(), len(line.get_xydata()))
              for line in axis.lines] for axis in axes]
    assert drawn == [[('o', 2)], [('o', 2)], [('x', 2), ('x', 2), ('o', 2)],
                     [('x', 2)]]
    # Bright around both points, dark elsewhere.
    for t, places in enumerate([[(4, 4), (1, 7)]] * 3 + [[(7, 1), (1, 7)]]):
        for place in places:
            assert (shown(axes[t])[place] == frames[t, 0, 0]).all()
        assert (shown(axes[t])[8, 8] == frames[t, 0, 0] // 4).all()
    assert (shown(axes[3])[4, 4] < 60).all()
    axes = draw_pairs(frames, points, np.zeros((1, 3)), style).axes
    assert [axis.get_title()
            for axis in axes] == ['t = 0, 2', 't = 1, 2', 't = 2, 3']
    assert [[shown(axis)[1, x].max() for x in (7, 17)]
            for axis in axes] == [[200, 100], [200, 100], [100, 200]]


def test_draw_pairs():
    """Each pair has masks and points of its own, not those of its frames."""
    frames = np.full((3, 8, 8, 3), 200, np.uint8)
    frames[1] = 100
    points = np.zeros((3, 2, 2, 2))
    points[2, 0] = [(-1, -1), (1, 1)]
    points[2, 1] = [(1, -1), (-1, 1)]
    similarities = np.array([[0, 0], [0, 0], [0.125, -0.5]])
    figure = draw_pairs(frames, points, similarities,
                        DrawingStyle(2, 0., 9., layers=[2, 1]))
    axes = np.array(figure.axes).reshape(2, 2)
    assert [axis.get_ylabel() for axis in axes[:, 0]] == ['block 2', 'block 1']
    assert [axis.get_title() for axis in axes[0]] == ['t = 0, 1', 't = 1, 2']
    assert [axis.get_xlabel() for axis in axes[0]] == ['cos 0.12', 'cos -0.50']
    # 8 pixels of a frame, one between and 8 of the next one.
    first, second = map(shown, axes[0])
    assert first.shape == (8, 17, 3)
    assert (first[:2, :2] == 200).all() and (first[6:, 15:] == 100).all()
    assert (first[:, 8] == 255).all()
    assert (first == 200).sum() == (first == 100).sum() == 3 * 4
    assert (second[:2, 6:8] == 100).all() and (second[6:, 9:11] == 200).all()
    for axis, places in zip(axes[0], ([(0.5, 0.5),
                                       (15.5, 6.5)], [(6.5, 0.5),
                                                      (9.5, 6.5)])):
        assert [tuple(line.get_xydata()[0]) for line in axis.lines] == places
        assert [line.get_marker() for line in axis.lines] == ['o', 'x']
