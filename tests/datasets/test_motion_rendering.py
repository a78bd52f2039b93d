from collections import Counter

import cv2
import decord
import numpy as np
import pytest
from scipy import stats

from projects.ila.datasets.motion import (CLASSES, classes, displacement,
                                          render_video, rendering)
from projects.ila.datasets.motion.dataset import _write_whole

LABELS = range(len(CLASSES))
LEVELS = range(4)
OPPOSITES = {
    'moving left': 'moving right',
    'moving up': 'moving down',
    'turning counterclockwise': 'turning clockwise'
}
OPPOSITES.update({name: other for other, name in OPPOSITES.items()})


@pytest.fixture
def painted(monkeypatch):
    """Shapes that were painted on videos: look, states, the frames before."""
    shapes = []
    paint = rendering._Look.paint

    def record(look, frames, states):
        if len(frames) > 1:
            shapes.append((look, states.copy(), frames.copy()))
        paint(look, frames, states)

    monkeypatch.setattr(rendering._Look, 'paint', record)
    return shapes


@pytest.fixture
def planned(monkeypatch):
    """Shapes of videos that are drawn by lot but not painted: look, states."""
    shapes = []

    def record(look, frames, states):
        if len(frames) > 1:
            shapes.append((look, states.copy()))

    monkeypatch.setattr(rendering._Look, 'paint', record)
    monkeypatch.setattr(
        rendering, '_moved', lambda background, shifts, size: np.zeros(
            (len(shifts), size, size, 3), np.float32))
    return shapes


@pytest.mark.parametrize('label, level', [(-1, 0), (10, 0), (10, 2), (12, 3)])
def test_bad_label_is_named(label, level):
    with pytest.raises(ValueError, match=f'label must be .* {label}'):
        render_video(label, 0, level=level)


# What the levels add.


def test_levels_share_target_and_background(painted):
    for level in LEVELS:
        render_video(4, 3, 32, 64, level)
    # One shape at level 0, three at each other one; the target is last.
    first, last = (0, 1, 4, 7), (0, 3, 6, 9)
    target, path, _ = painted[0]
    for index in last:
        look, states, _ = painted[index]
        assert str(vars(look)) == str(vars(target))
        # Level 3 has other motions, from the same start.
        assert np.array_equal(states[0], path[0])
        assert np.array_equal(states, path) == (index != last[3])
    still, same, moving, also_moving = (painted[index][2] for index in first)
    assert np.array_equal(still, same)
    assert np.array_equal(moving, also_moving)
    assert not np.array_equal(still, moving)


@pytest.mark.parametrize('level', [1, 3])
def test_distractors_are_small_and_have_any_motion(planned, monkeypatch,
                                                   level):
    drawn = []

    def record(label, *args):
        drawn.append(label)
        return displacement(label, *args)

    monkeypatch.setattr(rendering, 'displacement', record)
    for index in range(600):
        render_video(7, (1, index), 8, 32, level)
    distractors = np.reshape(drawn, (600, 3))
    assert (distractors[:, 2] == 7).all()
    assert stats.chisquare(np.bincount(
        distractors[:, :2].ravel())).pvalue > .01
    # Neither tells the other's motion.
    pairs = np.histogram2d(
        *distractors[:, :2].T,
        bins=np.arange(len(classes(level)) + 1) - 0.5)[0]
    assert stats.chi2_contingency(pairs).pvalue > 0.01
    sizes = np.reshape([look.radius for look, _ in planned], (600, 3))
    assert (sizes[:, :2].max(1) < 0.6 * sizes[:, 2]).all()


@pytest.mark.parametrize('level', LEVELS)
def test_camera_pans_steadily_from_level_two_on(painted, monkeypatch, level):
    monkeypatch.setattr(rendering, '_JITTER', 0)
    for seed in range(20):
        render_video(0, (6, seed), 33, 64, level)
    # What there is before the first shape of a video.
    backgrounds = [frames for _, _, frames in painted[::3 if level else 1]]
    if level < 2:
        assert all((frames == frames[0]).all() for frames in backgrounds)
        return
    window = cv2.createHanningWindow((64, 64), cv2.CV_32F)
    travels = []
    for frames in backgrounds:
        grey = frames.mean(-1)
        shifts = [
            cv2.phaseCorrelate(now, later, window)[0]
            for now, later in zip(grey[:-8:8], grey[8::8])
        ]
        travels.append(np.median(shifts, axis=0) * 33 / 8 / 64)
    lengths = np.hypot(*np.transpose(travels))
    assert 0.37 < lengths.min() < 0.5 and 0.7 < lengths.max() < 0.83


# The premises of the proof that a single frame tells nothing.


@pytest.mark.parametrize('level', LEVELS)
def test_looks_and_start_do_not_depend_on_label(monkeypatch, level):
    monkeypatch.setattr(
        rendering, 'displacement', lambda label, num_frames, *args: np.zeros(
            (num_frames, 4)))
    still = render_video(0, 3, 8, 32, level)
    for label in range(len(classes(level))):
        assert np.array_equal(render_video(label, 3, 8, 32, level), still)


@pytest.mark.parametrize('level', LEVELS)
def test_surroundings_do_not_depend_on_label(painted, level):
    surroundings = []
    for label in range(len(classes(level))):
        render_video(label, 5, 8, 32, level)
        surroundings.append(painted[-1][2])
    assert all(
        np.array_equal(other, surroundings[0]) for other in surroundings)


@pytest.mark.parametrize('label, level',
                         [(label, 0) for label in LABELS] + [(5, 2), (8, 3)])
def test_frames_are_periodic_in_the_state(monkeypatch, label, level):
    periods = np.random.default_rng(0).integers(-2, 3, (24, 4))
    expected = render_video(label, 4, 24, level=level).astype(int)
    monkeypatch.setattr(rendering, 'displacement',
                        lambda *args: displacement(*args) + periods)
    # Up to the rounding of a sum that is larger.
    found = render_video(label, 4, 24, level=level)
    assert np.abs(found - expected).max() <= 1


@pytest.mark.parametrize('level', [0, 3])
def test_start_is_uniform(planned, level):
    for index in range(400):
        render_video(index % len(classes(level)), (0, index), 8, 32, level)
    starts = np.reshape([states[0] for _, states in planned], (400, -1))
    for values in starts.T:
        assert stats.kstest(values, 'uniform').pvalue > 1e-3
    # Shapes do not share their starts.
    correlation = np.corrcoef(np.exp(2j * np.pi * starts.T))
    assert np.abs(correlation - np.eye(len(correlation))).max() < 0.2


@pytest.mark.parametrize('label', LABELS)
def test_reversal_gives_the_paired_class(label):
    amount, phase, frames = 0.3, 0.2, 24
    path = displacement(label, frames, amount, phase)
    # A circling target comes back from where it was last.
    turns = (1.0 + 0.4 * amount) * (frames - 1) / frames
    other = displacement(label ^ 1, frames, amount,
                         phase + (turns if label % 2 else -turns))
    np.testing.assert_allclose(
        path[::-1] - path[-1], other, rtol=0, atol=1e-12)


@pytest.mark.parametrize('num_frames', [8, 9, 32])
@pytest.mark.parametrize('label', range(12))
def test_reversal_gives_the_paired_order(label, num_frames):
    path = displacement(label, num_frames, 0.3, 0.2, 3)
    np.testing.assert_allclose(
        path[::-1] - path[-1],
        displacement(label ^ 1, num_frames, 0.3, 0.2, 3),
        rtol=0,
        atol=1e-12)


def test_camera_reversed_is_as_likely():
    paths = np.stack([
        rendering._pan(np.random.default_rng(seed), 16) for seed in range(400)
    ])
    # Reversed, it is the pan in the opposite direction.
    np.testing.assert_allclose(paths[:, ::-1], -paths, rtol=0, atol=1e-12)
    steps = np.diff(paths, axis=1)
    np.testing.assert_allclose(steps, steps[:, :1].repeat(15, 1), atol=1e-12)
    angles = np.arctan2(*steps[:, 0].T) / (2 * np.pi) + 0.5
    assert stats.kstest(angles, 'uniform').pvalue > 1e-3


def test_neither_half_nor_both_without_order_tell_the_class():
    orders = [tuple(name.split(' then ')) for name in classes(3)]
    assert len(set(orders)) == 12
    for index in range(2):
        assert set(Counter(order[index] for order in orders).values()) == {2}
    assert set(Counter(map(frozenset, orders)).values()) == {2}
    assert all(first != second for first, second in orders)
    for label, (first, second) in enumerate(orders):
        assert orders[label ^ 1] == (OPPOSITES[second], OPPOSITES[first])


@pytest.mark.parametrize('label', range(12))
def test_halves_are_the_motions_of_the_name(label):
    path = displacement(label, 32, 0.6, 0.1, 3)
    for half, name in zip(
            np.split(path, 2),
            classes(3)[label].split(' then ')):
        motion = displacement(CLASSES.index(name), 32, 0.6, 0.1)[:16]
        np.testing.assert_allclose(half - half[0], motion, rtol=0, atol=1e-12)


@pytest.mark.parametrize('level', LEVELS)
def test_motion_is_not_aliased_in_eight_frames(level):
    for label in range(len(classes(level))):
        path = displacement(label, 800, 1, 0.3, level)
        # Neighbours of frames drawn from each eighth at random.
        assert np.abs(path[199:] - path[:-199]).max() < 0.4
        assert np.abs(np.diff(path[50::100], axis=0)).max(1).min() > 0.08


@pytest.mark.parametrize('level', [0, 3])
def test_single_decoded_frames_tell_nothing(tmp_path, level):
    """No frame's statistics nor a linear probe on it give the class away."""
    count, size, num_classes = 600, 32, len(classes(level))
    labels = np.arange(count) % num_classes
    positions = [0, 3, 7]
    frames = []
    for index, label in enumerate(labels):
        path = tmp_path / f'{index}.mp4'
        _write_whole(path, render_video(label, (9, index), 8, size, level),
                     tmp_path / 'part.mp4')
        frames.append(
            decord.VideoReader(str(path),
                               num_threads=1).get_batch(positions).asnumpy())
    wave = np.exp(2j * np.pi * np.arange(size) / size)
    one_hot = np.eye(num_classes)[labels]
    half = count // 2
    for images in np.swapaxes(frames, 0, 1).astype(np.float32):
        shape = np.abs(images[..., 0] - images[..., 2])
        across, down = shape.sum(1) @ wave, shape.sum(2) @ wave
        statistics = np.column_stack([
            images.mean((1, 2)),
            images.std((1, 2)),
            shape.mean((1, 2)), across.real, across.imag, down.real, down.imag
        ])
        for values in statistics.T:
            groups = [values[labels == label] for label in range(num_classes)]
            assert stats.kruskal(*groups).pvalue > 1e-4

        pixels = images.reshape(count, 8, 4, 8, 4, 3).mean((2, 4))
        features = np.column_stack([pixels.reshape(count, -1), statistics])
        features = stats.zscore(features, axis=0)
        train = features[:half]
        ridge = np.linalg.solve(train.T @ train + 100 * np.eye(train.shape[1]),
                                train.T @ one_hot[:half])
        correct = (features[half:] @ ridge).argmax(1) == labels[half:]
        # Four standard deviations of guessing one class.
        chance = 1 / num_classes
        assert abs(correct.mean() - chance) < 4 * np.sqrt(chance *
                                                          (1 - chance) / half)


# The label follows from the order of the frames.


def measure(frames):
    """Classify a video by where its warm and cool pixels go."""
    contrast = frames[..., 0].astype(np.float32) - frames[..., 2]
    # The background is not as colourful.
    contrast[np.abs(contrast) < 60] = 0
    weight = np.abs(contrast)
    size = frames.shape[1]
    wave = np.exp(2j * np.pi * np.arange(size) / size)
    x, y = (
        np.unwrap(np.angle(weight.sum(axis) @ wave)) / (2 * np.pi)
        for axis in (1, 2))
    if np.hypot(x.std(), y.std()) > 0.1:
        heading = np.unwrap(np.arctan2(np.gradient(y), np.gradient(x)))
        turns = (heading[-1] - heading[0]) / (2 * np.pi)
        if abs(turns) > 0.5:
            return f'circling {"counter" if turns < 0 else ""}clockwise'
        dx, dy = x[-1] - x[0], y[-1] - y[0]
        if abs(dx) > abs(dy):
            return f'moving {"right" if dx > 0 else "left"}'
        return f'moving {"down" if dy > 0 else "up"}'

    middle = size // 2
    centred = [
        np.roll(frame, (round(middle - cy * size), round(middle - cx * size)),
                (0, 1)) for frame, cx, cy in zip(contrast, x, y)
    ]
    grid = np.arange(size) - middle
    angles = np.unwrap([
        np.arctan2(grid @ frame.sum(1), grid @ frame.sum(0))
        for frame in centred
    ])
    turns = (angles[-1] - angles[0]) / (2 * np.pi)
    if abs(turns) > 0.4:
        return f'turning {"counter" if turns < 0 else ""}clockwise'

    near = np.hypot(grid[:, None], grid) < 0.2 * size
    # Does a frame magnified or one made smaller match a later one?
    errors = {}
    for word, scale in (('growing', 1.2), ('shrinking', 1 / 1.2)):
        matrix = cv2.getRotationMatrix2D((middle, middle), 0, scale)
        errors[word] = sum(
            np.abs(cv2.warpAffine(now, matrix, now.shape) - later)[near].sum()
            for now, later in zip(centred, centred[3:]))
    return f'rings {min(errors, key=errors.get)}'


@pytest.mark.parametrize('label', LABELS)
def test_motion_can_be_measured(label):
    measured = [measure(render_video(label, (2, seed))) for seed in range(4)]
    assert measured == [CLASSES[label]] * 4


@pytest.mark.parametrize('level, label',
                         [(2, label)
                          for label in LABELS] + [(3, label)
                                                  for label in range(12)])
def test_motion_can_be_measured_in_front_of_a_moving_background(
        monkeypatch, level, label):
    # Distractors are as colourful as the target.
    plain = rendering._SCENES[level]._replace(num_distractors=0)
    monkeypatch.setitem(rendering._SCENES, level, plain)
    for seed in range(3):
        frames = render_video(label, (2, seed), level=level)
        parts = np.split(frames, 2 if level == 3 else 1)
        measured = ' then '.join(map(measure, parts))
        assert measured == classes(level)[label]
