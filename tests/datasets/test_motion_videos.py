import re
import resource
import runpy
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import cv2
import decord
import numpy as np
import pytest
from scipy import stats

from mmaction.datasets import VideoDataset
from projects.ila.datasets import motion_videos
from projects.ila.datasets.motion_videos import (CLASSES, displacement,
                                                 make_dataset, render_video,
                                                 write_video)

TOOL = Path(__file__).parents[2] / 'tools' / 'data' / 'make_motion_videos.py'
LABELS = range(len(CLASSES))
SMALL = dict(num_train=30, num_val=10, seed=5, num_frames=8, size=32)


def read_tree(root):
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob('*') if path.is_file()
    }


def read_list(path):
    return [(name, int(label))
            for name, label in map(str.split,
                                   path.read_text().splitlines())]


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp('motion') / 'new'
    make_dataset(root, **SMALL)
    return root


def test_decord_reads_the_written_frames(tmp_path):
    frames = render_video(1, 0, num_frames=25)
    write_video(tmp_path / 'a.mp4', frames, tmp_path / 'part.mp4')

    reader = decord.VideoReader(str(tmp_path / 'a.mp4'))
    assert len(reader) == 25
    decoded = np.stack([reader.next().asnumpy() for _ in range(25)])
    order = [20, 3, 24, 11, 0]
    assert np.array_equal(
        decord.VideoReader(str(tmp_path / 'a.mp4')).get_batch(order).asnumpy(),
        decoded[order])
    # Each decoded frame is RGB and nearest to the frame that was written.
    errors = np.abs(decoded[:, None].astype(int) - frames).mean((2, 3, 4))
    assert errors.argmin(1).tolist() == list(range(25))
    assert errors.diagonal().max() < 6


def test_layout_and_balance(dataset):
    assert {path.name
            for path in dataset.iterdir()} == {
                'videos', 'train.txt', 'val.txt', 'classes.txt', 'dataset.json'
            }
    assert (dataset / 'classes.txt').read_text().splitlines() == list(CLASSES)
    for split, count in (('train', 30), ('val', 10)):
        names, labels = zip(*read_list(dataset / f'{split}.txt'))
        assert list(names) == sorted(
            path.relative_to(dataset / 'videos').as_posix()
            for path in (dataset / 'videos' / split).iterdir())
        assert Counter(labels) == dict.fromkeys(LABELS, count // len(CLASSES))
        assert all(re.fullmatch(rf'{split}/\d+\.mp4', name) for name in names)
    # The order of the classes must not be the same in each block.
    labels = np.reshape(
        [label for _, label in read_list(dataset / 'train.txt')], (3, -1))
    assert len(np.unique(labels, axis=0)) == 3


@pytest.mark.parametrize('split', ['train', 'val'])
def test_mmaction_reads_the_listed_motion(dataset, split):
    videos = VideoDataset(
        str(dataset / f'{split}.txt'),
        data_prefix=dict(video=str(dataset / 'videos')),
        pipeline=[
            dict(type='DecordInit'),
            dict(type='UniformSample', clip_len=8, test_mode=True),
            dict(type='DecordDecode')
        ])
    for index in (0, 7):
        results = videos[index]
        decoded = np.stack(results['imgs']).astype(int)
        errors = [
            np.abs(decoded - render_video(label, (5, ['train', 'val'].index(
                split), index), 8, 32)[results['frame_inds']]).mean()
            for label in LABELS
        ]
        assert np.argmin(errors) == results['label']


def test_videos_depend_on_seed_split_and_number_only(dataset, tmp_path):
    make_dataset(tmp_path / 'more', **dict(SMALL, num_train=40), workers=1)
    make_dataset(tmp_path / 'other', **dict(SMALL, seed=6))
    old, more, other = map(read_tree,
                           (dataset, tmp_path / 'more', tmp_path / 'other'))
    videos = {name: data for name, data in old.items() if 'mp4' in name}
    assert videos.items() <= more.items()
    assert len(set(videos.values())) == len(videos)
    assert not set(videos.values()) & set(other.values())
    assert more['train.txt'].startswith(old['train.txt'])


def test_interrupted_run_is_completed(dataset, tmp_path, monkeypatch):
    root = tmp_path / 'motion'

    def interrupt(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(motion_videos.ProgressBar, 'update', interrupt)
        with pytest.raises(KeyboardInterrupt):
            make_dataset(root, **SMALL)
    assert not list(root.glob('*.txt'))
    kept = next(root.rglob('*.mp4'))
    written = kept.stat().st_mtime_ns

    make_dataset(root, **SMALL)
    assert read_tree(root) == read_tree(dataset)
    assert kept.stat().st_mtime_ns == written


def test_complete_dataset_is_kept(dataset, monkeypatch, capsys):
    before = {path: path.stat().st_mtime_ns for path in dataset.rglob('*')}
    make_dataset(dataset, **SMALL)
    assert 'complete' in capsys.readouterr().out
    assert before == {
        path: path.stat().st_mtime_ns
        for path in dataset.rglob('*')
    }


def test_other_arguments_are_refused(dataset):
    before = read_tree(dataset)
    with pytest.raises(
            FileExistsError, match='num_train=30 instead of 40, seed=5 '):
        make_dataset(dataset, **dict(SMALL, num_train=40, seed=7))
    assert read_tree(dataset) == before


def test_other_folders_are_refused(tmp_path):
    (tmp_path / 'thesis.txt').write_text('mine')
    with pytest.raises(FileExistsError, match='something else'):
        make_dataset(tmp_path, **SMALL)
    assert read_tree(tmp_path) == {'thesis.txt': b'mine'}
    with pytest.raises(OSError, match='thesis.txt.new can not be written'):
        make_dataset(tmp_path / 'thesis.txt' / 'new', **SMALL)


@pytest.mark.parametrize('name, value', [('num_train', 9), ('num_val', 0),
                                         ('seed', -1), ('seed', 2**32),
                                         ('num_frames', 7), ('size', 30),
                                         ('size', 33), ('workers', 0)])
def test_bad_arguments_are_named(tmp_path, name, value):
    with pytest.raises(ValueError, match=f'{name} must be .*{value}'):
        make_dataset(tmp_path / 'motion', **{**SMALL, name: value})
    assert not (tmp_path / 'motion').exists()


@pytest.mark.parametrize('label', [-1, len(CLASSES)])
def test_bad_label_is_named(label):
    with pytest.raises(ValueError, match=f'label must be .* {label}'):
        render_video(label, 0)


def test_missing_encoder_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(cv2, 'VideoWriter_fourcc', lambda *code: 0)
    with pytest.raises(OSError, match='a.mp4: .* MPEG-4 encoder'):
        write_video(tmp_path / 'a.mp4', render_video(0, 0),
                    tmp_path / 'part.mp4')
    assert not (tmp_path / 'a.mp4').exists()


def test_lost_frames_are_noticed(tmp_path):
    # A full disk keeps OpenCV from storing the index of the frames.
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limit[1]))
    try:
        with pytest.raises(OSError, match='a.mp4: .* of 24 frames'):
            write_video(tmp_path / 'a.mp4', render_video(0, 0),
                        tmp_path / 'part.mp4')
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    assert not (tmp_path / 'a.mp4').exists()


def test_command_line(dataset, tmp_path, monkeypatch):
    command = [
        sys.executable,
        str(TOOL), 'motion', '--train', '30', '--val', '10', '--seed', '5',
        '--frames', '8', '--workers', '1'
    ]
    subprocess.run([*command, '--size', '32'], cwd=tmp_path, check=True)
    assert read_tree(tmp_path / 'motion') == read_tree(dataset)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', [*command[1:], '--size', '34'])
    with pytest.raises(SystemExit, match='size=32 instead of 34'):
        runpy.run_path(str(TOOL), run_name='__main__')


# The premises of the proof that a single frame tells nothing.


def test_looks_and_start_do_not_depend_on_label(monkeypatch):
    monkeypatch.setattr(
        motion_videos, 'displacement',
        lambda label, num_frames, *args: np.zeros((num_frames, 4)))
    still = render_video(0, 3)
    for label in LABELS:
        assert np.array_equal(render_video(label, 3), still)


@pytest.mark.parametrize('label', LABELS)
def test_frames_are_periodic_in_the_state(monkeypatch, label):
    periods = np.random.default_rng(0).integers(-2, 3, (24, 4))
    expected = render_video(label, 4).astype(int)
    monkeypatch.setattr(motion_videos, 'displacement',
                        lambda *args: displacement(*args) + periods)
    # Up to the rounding of a sum that is larger.
    assert np.abs(render_video(label, 4) - expected).max() <= 1


def test_start_is_uniform(monkeypatch):
    starts = []

    def record(look, frames, states):
        if len(frames) > 1:
            starts.append(states[0])

    monkeypatch.setattr(motion_videos._Look, 'paint', record)
    for index in range(400):
        render_video(index % len(CLASSES), (0, index), 8, 32)
    for values in np.transpose(starts):
        assert stats.kstest(values, 'uniform').pvalue > 1e-3


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


def test_single_decoded_frames_tell_nothing(tmp_path):
    """No frame's statistics nor a linear probe on it give the class away."""
    count, size = 1000, 32
    labels = np.arange(count) % len(CLASSES)
    positions = [0, 3, 7]
    frames = []
    for index, label in enumerate(labels):
        path = tmp_path / f'{index}.mp4'
        write_video(path, render_video(label, (9, index), 8, size),
                    tmp_path / 'part.mp4')
        frames.append(
            decord.VideoReader(str(path)).get_batch(positions).asnumpy())
    wave = np.exp(2j * np.pi * np.arange(size) / size)
    one_hot = np.eye(len(CLASSES))[labels]
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
            groups = [values[labels == label] for label in LABELS]
            assert stats.kruskal(*groups).pvalue > 1e-4

        pixels = images.reshape(count, 8, 4, 8, 4, 3).mean((2, 4))
        features = np.column_stack([pixels.reshape(count, -1), statistics])
        features = stats.zscore(features, axis=0)
        train = features[:half]
        ridge = np.linalg.solve(train.T @ train + 100 * np.eye(train.shape[1]),
                                train.T @ one_hot[:half])
        correct = (features[half:] @ ridge).argmax(1) == labels[half:]
        # Four standard deviations of guessing one class of ten.
        assert abs(correct.mean() - 0.1) < 4 * np.sqrt(0.1 * 0.9 / half)


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
