import numpy as np
import pytest

from projects.ila.datasets.motion import render_billiards
from projects.ila.datasets.motion.figures import draw_path


@pytest.mark.parametrize('label, seed', [(0, 0), (5, 1), (8, 2)])
def test_the_ball_rolls_along_its_path(label, seed):
    """Its brightest changes are around the places of the path."""
    size, frames = 96, 12
    video = render_billiards(label, seed, frames, size).astype(float)
    places = draw_path(label, frames, np.random.default_rng(seed)) * size
    change = np.abs(video - np.median(video, 0)).max(-1)
    for picture, place in zip(change, places):
        rows, columns = np.nonzero(picture > 40)
        if len(rows):  # Where it waits, it is in most frames.
            center = columns.mean(), rows.mean()
            assert np.hypot(*(center - place)) < 0.05 * size
    assert ((change > 40).sum((1, 2)) > 0).sum() > frames / 2


def test_seed_decides_all_but_the_path():
    videos = [render_billiards(label, 3, 8, 64) for label in (2, 2, 3)]
    assert np.array_equal(videos[0], videos[1])
    assert not np.array_equal(videos[0], videos[2])
    # One path run both ways; only the sensor's noise is new.
    assert np.abs(videos[0].mean(0) - videos[2].mean(0)).mean() < 4
