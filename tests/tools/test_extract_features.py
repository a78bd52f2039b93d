import os
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from commands import ROOT
from modules import load_module
from tiny import save_weights, tiny_config
from videos import write_video

from projects.ila.apis import ILAInferencer, feature_file
from projects.ila.apis.clip_reader import ClipReader
from projects.ila.apis.feature_file import FeatureFile

tool = load_module(ROOT / 'tools/extract_features.py')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('features')
    cfg = tiny_config()
    cfg.dump(folder / 'tiny.py')
    save_weights(cfg, folder / 'tiny.pth')
    (folder / 'videos').mkdir()
    for name, frames in (('a', 12), ('b', 20), ('c', 30)):
        write_video(folder / 'videos' / f'{name}.mp4', frames)
    (folder / 'videos/broken.mp4').write_bytes(b'')
    return folder


@pytest.fixture
def extract(folder, monkeypatch, capsys):
    """Run the tool; give its exit code or message, and the videos read."""
    read_clips = ClipReader.read
    monkeypatch.chdir(folder)

    def run(*arguments, stop=None):
        files = []

        def read(self, video, *args):
            if stop is not None and stop in video.name:
                raise KeyboardInterrupt
            files.append(video.name)
            return read_clips(self, video, *args)

        monkeypatch.setattr(ClipReader, 'read', read)
        monkeypatch.setattr(sys, 'argv',
                            ['extract_features.py', 'tiny.py', *arguments])
        code = 0
        try:
            tool.main()
        except SystemExit as error:
            code = error.code
        return code, files, capsys.readouterr().out

    return run


def load(path):
    if path.endswith('.parquet'):
        table = pytest.importorskip('pyarrow.parquet').read_table(path)
        return dict(zip(*map(list, table.to_pydict().values())))
    with np.load(path) as file:
        return dict(zip(file['files'].tolist(), file['features']))


@pytest.mark.parametrize('suffix', ['.npz', '.parquet'])
def test_interrupted_and_started_again(folder, extract, suffix):
    """What is done stays, only the rest and what failed is read again."""
    if suffix == '.parquet':
        pytest.importorskip('pyarrow')
    path = f'out/f{suffix}'
    arguments = 'tiny.pth', 'videos', '--out', path
    code, files, _ = extract(*arguments, stop='broken')
    assert code == 130
    assert files == ['videos/a.mp4', 'videos/b.mp4']
    assert list(load(path)) == files

    code, files, out = extract(*arguments, '--batch-size', '2')
    assert files == ['videos/broken.mp4', 'videos/c.mp4']
    assert '4 videos, 2 of them not done yet' in out
    assert code == ('1 of 2 failed:\nvideos/broken.mp4: the file is empty; '
                    'replace it')
    inferencer = ILAInferencer('tiny.py', 'tiny.pth', 'cpu')
    expected = inferencer.embed('videos')
    found = load(path)
    assert list(found) == expected['files']
    np.testing.assert_allclose(
        list(found.values()), expected['embeddings'], atol=1e-6)
    assert abs(expected['embeddings'][0] -
               expected['embeddings'][1]).max() > 1e-3

    # Nothing is left to do for these.
    code, files, _ = extract('tiny.pth', 'videos/[ab].mp4', '--out', path)
    assert (code, files) == (0, [])
    assert list(load(path)) == list(found)


def test_parquet_needs_pyarrow(extract, monkeypatch):
    monkeypatch.setattr(tool, 'find_spec', lambda name: None)
    code, files, _ = extract('tiny.pth', 'videos', '--out', 'f.parquet')
    assert 'pip install pyarrow, or give --out a name that ends' in code
    assert not files


def test_features_are_saved_on_the_way(extract, monkeypatch):
    """For a process that is killed."""
    monkeypatch.setattr(feature_file, 'SAVE_EVERY', 0)
    saved = []
    save = FeatureFile.save

    def record(self):
        save(self)
        saved.append(len(load('often.npz')))

    monkeypatch.setattr(FeatureFile, 'save', record)
    assert extract('tiny.pth', 'videos/[abc].mp4', '--out',
                   'often.npz')[0] == 0
    assert saved == [1, 2, 3, 3]


def test_other_features_are_not_mixed_in(folder, extract):
    assert extract('tiny.pth', 'videos/a.mp4', '--out', 'one.npz')[0] == 0
    weights = torch.load('tiny.pth', weights_only=True)
    weights['state_dict']['backbone.image.proj.weight'] *= 2
    torch.save(weights, 'other.pth')
    pipeline = 'test_dataloader.dataset.pipeline.1.num_clips=1'
    for arguments in (('other.pth', 'videos/a.mp4'),
                      ('tiny.pth', 'videos/a.mp4', '--cfg-options', pipeline)):
        code, files, _ = extract(*arguments, '--out', 'one.npz')
        assert code.startswith("'one.npz' holds features of another")
        assert files == []
    (folder / 'text.npz').write_text('text')
    np.savez(folder / 'array.npz', a=np.ones(2))
    with open(folder / 'plain.npz', 'wb') as file:
        np.save(file, np.ones(2))
    np.savez(
        folder / 'more.npz', files=['a'], features=np.ones((2, 3)), model='')
    names = ['text.npz', 'array.npz', 'plain.npz', 'more.npz']
    if find_spec('pyarrow'):
        (folder / 'text.parquet').write_text('text')
        names.append('text.parquet')
    for name in names:
        code, files, _ = extract('tiny.pth', 'videos/a.mp4', '--out', name)
        assert code.startswith(f"'{name}' holds no features")


def test_no_file_of_no_features(extract):
    code, _, out = extract('tiny.pth', 'videos/broken.mp4', '--out',
                           'empty.npz')
    assert code.startswith('1 of 1 failed')
    assert 'empty.npz' not in out and not os.path.exists('empty.npz')


def test_checkpoint_is_needed(extract):
    code, _, _ = extract('videos/a.mp4', '--out', 'none.npz')
    assert code == ('tiny.py has no `load_from`. Please give a checkpoint '
                    'before the videos')
