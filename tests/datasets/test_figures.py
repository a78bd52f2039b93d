import numpy as np
import pytest

from projects.ila.datasets.motion import classes, render_states
from projects.ila.datasets.motion.figures import FIGURES, draw_path


def draw(name, seed=0, num_frames=200):
    return draw_path(
        FIGURES.index(name), num_frames, np.random.default_rng(seed))


@pytest.mark.parametrize('seed', range(5))
@pytest.mark.parametrize('name', FIGURES)
def test_the_whole_path_is_seen(name, seed):
    path = draw(name, seed)
    assert path.min() >= 0.08 - 1e-9
    assert path.max() <= 0.92 + 1e-9
    assert (np.ptp(path, axis=0).max() >= 2 * 0.22 * np.cos(np.pi / 18))


@pytest.mark.parametrize('label', range(0, 10, 2))
def test_pairs_are_one_path_run_both_ways(label):
    np.testing.assert_array_equal(
        draw(FIGURES[label])[::-1], draw(FIGURES[label + 1]))


@pytest.mark.parametrize('seed', range(5))
def test_names_say_what_is_drawn(seed):
    """y points down."""
    x, y = draw('line to the right', seed).T
    assert (np.diff(x) >= 0).all() and np.ptp(x) > 4 * np.ptp(y)
    x, y = draw('line down', seed).T
    assert (np.diff(y) >= 0).all() and np.ptp(y) > 4 * np.ptp(x)

    x, y = draw('circle clockwise', seed).T
    area = (x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2
    assert area == pytest.approx(np.pi / 4 * np.ptp(x) * np.ptp(y), rel=0.1)

    x, y = draw('caret from left to right', seed).T
    assert (np.diff(x) >= 0).all()
    assert y.argmin() not in (0, len(y) - 1)
    assert y.min() < min(y[0], y[-1]) - 0.2

    x, y = draw('zigzag down', seed).T
    turns = np.diff(np.sign(np.diff(x)[np.abs(np.diff(x)) > 1e-9]))
    assert y[0] < y[-1] - 0.2 and x[0] < x[-1] - 0.2
    assert turns[turns != 0].tolist() == [-2, 2]


def test_frames_differ_where_the_shape_is():
    """Of two labels with one seed."""
    size = 96
    (one, first), (other, second) = (
        render_states(label, 3, 12, size, 'figures') for label in (1, 3))
    for frames in zip(one, other, first, second):
        image, another, *states = frames
        rows, columns = np.nonzero(
            np.abs(image.astype(int) - another).max(-1) > 8)
        assert len(rows)
        distances = [
            np.hypot(columns - size * state[0], rows - size * state[1])
            for state in states
        ]
        assert np.minimum(*distances).max() < 0.11 * size + 3


def test_unknown_kind():
    with pytest.raises(ValueError, match="or 'figures', got 'letters'"):
        classes('letters')
