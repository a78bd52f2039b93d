import matplotlib.pyplot as plt
import numpy as np

from projects.ila.visualization import draw_alignment


def test_draw_alignment():
    frames = np.full((3, 9, 9, 3), 200, np.uint8)
    points = np.zeros((2, 2, 2, 2))
    points[1, 0, 0] = (0.75, -0.75)
    figure = draw_alignment(frames, points)
    axes = np.array(figure.axes).reshape(3, 3)
    # Without a mask, around the centre, and in the upper right corner.
    shown = [row[0].get_images()[0].get_array() for row in axes]
    assert np.array_equal(shown[0], frames[0])
    assert tuple(shown[1][4, 4]) == (200, 200, 200)
    assert tuple(shown[1][0, 0]) == (50, 50, 50)
    assert tuple(shown[2][1, 7]) == (200, 200, 200)
    assert tuple(shown[2][8, 0]) == (50, 50, 50)
    # The point shared with the next frame, in pixels.
    assert axes[2, 0].lines[0].get_xydata()[0].tolist() == [7, 1]
    assert [len(axis.lines) for axis in axes[1]] == [1, 2, 1]
    plt.close(figure)
