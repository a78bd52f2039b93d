import re
import resource
import runpy
import signal
import sys
from collections import Counter
from pathlib import Path

import decord
import numpy as np
import pytest
from commands import run_tool

from mmaction.datasets import VideoDataset
from projects.ila.datasets.motion import (CLASSES, classes, dataset,
                                          make_dataset, render_video)

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
def videos(tmp_path_factory):
    root = tmp_path_factory.mktemp('motion') / 'new'
    make_dataset(root, **SMALL)
    return root


def test_decord_reads_the_written_frames(videos):
    """In any order, and each is nearest to the frame that was rendered."""
    name, label = read_list(videos / 'train.txt')[3]
    path = str(videos / 'videos' / name)
    frames = render_video(label, (5, 0, 3), 8, 32)
    reader = decord.VideoReader(path)
    decoded = np.stack([reader.next().asnumpy() for _ in range(len(reader))])
    order = [5, 3, 7, 0]
    assert np.array_equal(
        decord.VideoReader(path).get_batch(order).asnumpy(), decoded[order])
    errors = np.abs(decoded[:, None].astype(int) - frames).mean((2, 3, 4))
    assert errors.argmin(1).tolist() == list(range(8))
    assert errors.diagonal().max() < 10


def test_layout_and_balance(videos):
    assert {path.name
            for path in videos.iterdir()} == {
                'videos', 'train.txt', 'val.txt', 'class_names.txt',
                'dataset.json'
            }
    names = (videos / 'class_names.txt').read_text().splitlines()
    assert names == list(CLASSES)
    for split, count in (('train', 30), ('val', 10)):
        names, labels = zip(*read_list(videos / f'{split}.txt'))
        assert list(names) == sorted(
            path.relative_to(videos / 'videos').as_posix()
            for path in (videos / 'videos' / split).iterdir())
        assert Counter(labels) == dict.fromkeys(LABELS, count // len(CLASSES))
        assert all(re.fullmatch(rf'{split}/\d+\.mp4', name) for name in names)
    # The order of the classes must not be the same in each block.
    labels = np.reshape(
        [label for _, label in read_list(videos / 'train.txt')], (3, -1))
    assert len(np.unique(labels, axis=0)) == 3


@pytest.mark.parametrize('split', ['train', 'val'])
def test_mmaction_reads_the_listed_motion(videos, split):
    videos = VideoDataset(
        str(videos / f'{split}.txt'),
        data_prefix=dict(video=str(videos / 'videos')),
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


def test_videos_depend_on_seed_split_and_number_only(videos, tmp_path):
    make_dataset(tmp_path / 'more', **dict(SMALL, num_train=40), workers=1)
    make_dataset(tmp_path / 'other', **dict(SMALL, seed=6))
    old, more, other = map(read_tree,
                           (videos, tmp_path / 'more', tmp_path / 'other'))
    videos = {name: data for name, data in old.items() if 'mp4' in name}
    assert videos.items() <= more.items()
    assert len(set(videos.values())) == len(videos)
    assert not set(videos.values()) & set(other.values())
    assert more['train.txt'].startswith(old['train.txt'])


def test_interrupted_run_is_completed(videos, tmp_path, monkeypatch):
    root = tmp_path / 'motion'

    def interrupt(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(dataset.ProgressBar, 'update', interrupt)
        with pytest.raises(KeyboardInterrupt):
            make_dataset(root, **SMALL)
    assert not list(root.glob('*.txt'))
    kept = next(root.rglob('*.mp4'))
    written = kept.stat().st_mtime_ns

    make_dataset(root, **SMALL)
    assert read_tree(root) == read_tree(videos)
    assert kept.stat().st_mtime_ns == written


def test_complete_dataset_is_kept(videos, monkeypatch, capsys):
    before = {path: path.stat().st_mtime_ns for path in videos.rglob('*')}
    make_dataset(videos, **SMALL)
    assert 'complete' in capsys.readouterr().out
    assert before == {
        path: path.stat().st_mtime_ns
        for path in videos.rglob('*')
    }


def test_other_level_is_refused(videos):
    with pytest.raises(FileExistsError, match='level=0 instead of 1;'):
        make_dataset(videos, **SMALL, level=1)


def test_level_of_ordered_motions(tmp_path, monkeypatch):
    root = tmp_path / 'order'
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', [
        str(TOOL), 'order', '--level', '3', '--train', '24', '--val', '12',
        '--seed', '5', '--size', '32', '--workers', '1'
    ])
    runpy.run_path(str(TOOL), run_name='__main__')
    names = (root / 'class_names.txt').read_text().splitlines()
    assert names == list(classes(3)) and len(names) == 12
    for split, count in (('train', 24), ('val', 12)):
        videos = read_list(root / f'{split}.txt')
        assert Counter(label for _, label in videos) == dict.fromkeys(
            range(12), count // 12)
    name, label = videos[3]
    decoded = decord.VideoReader(str(root / 'videos' / name))[:].asnumpy()
    assert len(decoded) == 32
    errors = [
        np.abs(
            decoded.astype(int) -
            render_video(other, (5, 1, 3), size=32, level=3)).mean()
        for other in range(12)
    ]
    assert np.argmin(errors) == label
    with pytest.raises(ValueError, match='num_val must be at least 12, got 9'):
        make_dataset(tmp_path / 'few', num_val=9, level=3)


def test_other_arguments_are_refused(videos):
    before = read_tree(videos)
    with pytest.raises(
            FileExistsError, match='num_train=30 instead of 40, seed=5 '):
        make_dataset(videos, **dict(SMALL, num_train=40, seed=7))
    assert read_tree(videos) == before


def test_other_folders_are_refused(tmp_path):
    (tmp_path / 'thesis.txt').write_text('mine')
    with pytest.raises(FileExistsError, match='something else'):
        make_dataset(tmp_path, **SMALL)
    assert read_tree(tmp_path) == {'thesis.txt': b'mine'}
    for content in ('', '[1]'):
        (tmp_path / 'damaged').mkdir(exist_ok=True)
        (tmp_path / 'damaged/dataset.json').write_text(content)
        with pytest.raises(FileExistsError, match='dataset.json is damaged'):
            make_dataset(tmp_path / 'damaged', **SMALL)
    with pytest.raises(OSError, match='thesis.txt.new cannot be written'):
        make_dataset(tmp_path / 'thesis.txt' / 'new', **SMALL)


@pytest.mark.parametrize('name, value', [('num_train', 9), ('num_val', 0),
                                         ('seed', -1), ('seed', 2**32),
                                         ('num_frames', 7), ('size', 30),
                                         ('size', 33), ('workers', 0),
                                         ('level', -1), ('level', 4)])
def test_bad_arguments_are_named(tmp_path, name, value):
    with pytest.raises(ValueError, match=f'{name} must be .*{value}'):
        make_dataset(tmp_path / 'motion', **{**SMALL, name: value})
    assert not (tmp_path / 'motion').exists()


def test_full_disk_leaves_no_broken_video(tmp_path):
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limit[1]))
    try:
        with pytest.raises(OSError, match=r'a\.mp4: .*make room on the disk'):
            dataset._write_whole(tmp_path / 'a.mp4', render_video(0, 0),
                                 tmp_path / 'part.mp4')
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    assert not (tmp_path / 'a.mp4').exists()


def test_command_line(videos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = [
        TOOL, 'motion', '--train', '30', '--val', '10', '--seed', '5',
        '--frames', '8', '--workers', '1', '--size'
    ]
    assert run_tool(*command, '32').returncode == 0
    assert read_tree(tmp_path / 'motion') == read_tree(videos)
    assert 'size=32 instead of 34' in run_tool(*command, '34').stderr
