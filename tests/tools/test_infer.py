import csv
import json
import math
import os
import pickle
import shutil
import sys

import pytest
import torch
from commands import ROOT, run_tool
from modules import load_module
from videos import write_video

from mmaction.apis import init_recognizer
from projects.ila import cli
from projects.ila.apis import ILAInferencer
from projects.ila.apis.clip_reader import ClipReader
from projects.ila.models.heads import ILALinearHead

TOOL = ROOT / 'tools/infer.py'
NAMES = [f'motion {number}' for number in range(10)]
PIPELINE = 'test_dataloader.dataset.pipeline'
CONFIG = f'''
_base_ = ['{ROOT}/tests/data/tiny_motion.py']
test_pipeline = [
    dict(type='SafePyAVInit'),
    dict(type='UniformSample', clip_len=4, num_clips=2, test_mode=True),
    dict(type='SafePyAVDecode'),
    dict(type='Resize', scale=(-1, 32)),
    dict(type='ThreeCrop', crop_size=32),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs')
]
test_dataloader = dict(
    dataset=dict(
        pipeline=test_pipeline,
        ann_file='list.txt',
        data_prefix=dict(video='')))
'''

tool = load_module(TOOL)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A config, weights, three videos and a broken one."""
    folder = tmp_path_factory.mktemp('infer')
    (folder / 'tiny.py').write_text(CONFIG)
    torch.manual_seed(0)
    model = init_recognizer(str(folder / 'tiny.py'), device='cpu')
    torch.nn.init.normal_(model.cls_head.fc.weight)
    torch.save(model.state_dict(), folder / 'tiny.pth')
    (folder / 'videos').mkdir()
    for name, num_frames in (('a b', 30), ('c', 60), ('d', 90)):
        write_video(folder / 'videos' / f'{name}.mp4', num_frames)
    (folder / 'broken.mp4').write_bytes(b'')
    (folder / 'names.txt').write_text('\n'.join(NAMES))
    (folder / 'list.txt').write_text(''.join(f'videos/{name}.mp4 0\n'
                                             for name in ('a b', 'c', 'd')))
    return folder


@pytest.fixture
def infer(folder, monkeypatch, capsys):
    """Run the tool, and return its exit code or message and what it prints."""

    def run(*arguments, config='tiny.py', weights='tiny.pth'):
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, 'argv',
                            ['infer.py', config, weights, *arguments])
        code = 0
        try:
            tool.main()
        except SystemExit as error:
            code = error.code
        return code, *capsys.readouterr()

    return run


def test_scores_are_those_of_the_test_tool(folder, infer, monkeypatch):
    monkeypatch.chdir(folder)
    test = run_tool('tools/test.py', 'tiny.py', 'tiny.pth', '--dump',
                    'test.pkl')
    assert test.returncode == 0, test.stderr
    expected = [
        sample['pred_score']
        for sample in pickle.loads((folder / 'test.pkl').read_bytes())
    ]
    code, _, _ = infer('videos', '--batch-size', '2', '--topk', '10', '--out',
                       'all.json')
    assert code == 0
    predictions = json.loads((folder / 'all.json').read_text())['predictions']
    assert len(predictions) == len(expected) == 3
    for prediction, scores in zip(predictions, expected):
        assert [x['label'] for x in prediction['topk']
                ] == scores.argsort(descending=True).tolist()
        assert [x['score'] for x in prediction['topk']] == pytest.approx(
            scores.sort(descending=True)[0].tolist(), rel=1e-4)


def test_broken_file_among_good_ones(folder, monkeypatch):
    """All else is printed and written, and the exit code is 1."""
    monkeypatch.chdir(folder)
    result = run_tool('tools/infer.py', 'tiny.py', 'tiny.pth',
                      'videos/[ac]*.mp4', 'broken.mp4', 'none.mp4',
                      'videos/d.mp4', '--classes', 'names.txt', '--topk', '2',
                      '--out', 'some.json')
    assert result.returncode == 1
    assert 'Traceback' not in result.stderr
    *_, count, broken, missing = result.stderr.splitlines()
    assert count == '2 of 5 failed:'
    assert broken == 'broken.mp4: the file is empty; replace it'
    assert missing == 'none.mp4: there is no such file'

    written = json.loads((folder / 'some.json').read_text())
    assert [x['file'] for x in written['errors']] == ['broken.mp4', 'none.mp4']
    lines = result.stdout.splitlines()
    for name, prediction in zip(('a b', 'c', 'd'), written['predictions']):
        assert prediction['file'] == f'videos/{name}.mp4'
        place = lines.index(prediction['file'])
        assert len(prediction['topk']) == 2
        for line, best in zip(lines[place + 1:], prediction['topk']):
            assert best['name'] == NAMES[best['label']]
            score, label, name = line.split(maxsplit=2)
            assert score == f"{best['score']:.1%}"
            assert (int(label), name) == (best['label'], best['name'])
    assert list(folder.glob('*.partial')) == []


def test_windows_as_table(folder, infer):
    code, out, _ = infer('videos/d.mp4', '--window', '1', '--stride', '0.8',
                         '--topk', '3', '--out', 'windows.csv')
    assert code == 0
    inferencer = ILAInferencer(folder / 'tiny.py', folder / 'tiny.pth')
    prediction, = inferencer(
        'videos/d.mp4', window=1, stride=0.8, topk=3)['predictions']
    expected = [[
        'videos/d.mp4',
        str(part['start']),
        str(part['end']),
        str(rank),
        str(best['label']), best['name'],
        str(best['score'])
    ] for part in prediction['timeline']
                for rank, best in enumerate(part['topk'], 1)]
    with open(folder / 'windows.csv', newline='') as file:
        header, *rows = csv.reader(file)
    assert header == ['file', 'start', 'end', 'rank', 'label', 'name', 'score']
    assert rows == expected
    assert [row[1] for row in rows[::3]] == ['0.0', '0.8', '1.6', '2.0']
    assert out.count(' s ') == 4
    assert '    1.60 - 2.60 s ' in out


def test_stream_as_table(folder, infer):
    """It is that of windows, and ends with the file."""
    tables = []
    for name, arguments in (('a.csv', ['--stream']), ('b.csv', [])):
        code, out, _ = infer('videos/d.mp4', *arguments, '--stride', '0.6',
                             '--window', '2', '--out', name)
        assert code == 0
        assert out.count(' s ') == 3
        with open(folder / name, newline='') as file:
            tables.append(list(csv.DictReader(file)))
    for own, other in zip(*tables, strict=True):
        score = float(other.pop('score'))
        assert float(own.pop('score')) == pytest.approx(score, abs=1e-5)
        assert own == other


def test_captions(folder, infer):
    code, _, _ = infer('videos', '--vid-out-dir', 'captions')
    assert code == 0
    assert sorted(os.listdir(folder / 'captions')) == sorted(
        os.listdir(folder / 'videos'))
    # A video that is not drawn counts once.
    (folder / 'blocked/c.mp4').mkdir(parents=True)
    code, out, _ = infer('videos/c.mp4', 'videos/d.mp4', '--vid-out-dir',
                         'blocked')
    assert code.startswith('1 of 2 failed:\nvideos/c.mp4: it is not drawn')
    assert 'videos/c.mp4\n' in out


def test_classes_of_a_text_head(folder, infer, tmp_path):
    config = tmp_path / 'text.py'
    config.write_text(CONFIG + '''model = dict(cls_head=dict(
    _delete_=True, type='ILATextHead', in_channels=16, patch_channels=32,
    class_names=['none', 'of', 'these'], text_encoder=dict(layers=1)))''')
    model = init_recognizer(str(config), device='cpu')
    torch.save(model.state_dict(), tmp_path / 'text.pth')
    code, out, _ = infer(
        'videos/c.mp4',
        '--classes',
        'riding a bike, playing guitar',
        config=str(config),
        weights=str(tmp_path / 'text.pth'))
    assert code == 0
    rows = [line.split(maxsplit=2) for line in out.splitlines()[-2:]]
    assert {row[2] for row in rows} == {'riding a bike', 'playing guitar'}
    total = sum(float(row[0].rstrip('%')) for row in rows)
    assert total == pytest.approx(100, abs=0.11)


def test_results_that_cannot_be_written_are_shown(folder, infer):
    (folder / 'full.json.partial').symlink_to('/dev/full')
    code, out, _ = infer('videos/c.mp4', '--out', 'full.json')
    (folder / 'full.json.partial').unlink()
    assert code.startswith("cannot write 'full.json': No space left on device")
    assert 'videos/c.mp4\n' in out


@pytest.mark.parametrize('name, error, expected',
                         [('stopped.json', KeyboardInterrupt(), 130),
                          ('stopped.csv', SystemExit(143), 143)])
def test_finished_predictions_outlive_an_interrupt(folder, infer, monkeypatch,
                                                   name, error, expected):
    read, written = ClipReader.read, []

    def interrupt(self, video, *args):
        if 'd.mp4' in video.name:
            written.append((folder / f'{name}.partial').read_text())
            raise error
        return read(self, video, *args)

    monkeypatch.setattr(ClipReader, 'read', interrupt)
    (folder / name).write_text('older')
    code, out, _ = infer('videos', '--topk', '1', '--out', name)
    assert code == expected
    assert 'videos/c.mp4' in out
    # What is done is on the disk already, if the process is killed.
    assert 'videos/c.mp4' in written[0]
    if name.endswith('.json'):
        result = json.loads((folder / name).read_text())
        files = [x['file'] for x in result['predictions']]
    else:
        with open(folder / name, newline='') as file:
            files = [row['file'] for row in csv.DictReader(file)]
    assert files == ['videos/a b.mp4', 'videos/c.mp4']

    # Before the first one is done there is nothing to write.
    (folder / name).write_text('older')
    assert infer('videos/d.mp4', '--out', name)[0] == expected
    assert (folder / name).read_text() == 'older'
    assert list(folder.glob('*.partial')) == []


def test_file_names_that_are_not_utf8(folder, infer):
    path = os.fsdecode(b'videos/caf\xe9.mp4')
    shutil.copy(folder / 'videos/c.mp4', folder / path)
    for name in ('odd.json', 'odd.csv'):
        code, out, _ = infer('videos/caf*', '--topk', '1', '--out', name)
        assert code == 0
        assert r'videos/caf\udce9.mp4' in out
    (folder / path).unlink()
    prediction, = json.loads((folder / 'odd.json').read_text())['predictions']
    assert prediction['file'] == path
    with open(folder / 'odd.csv', newline='', encoding='utf-8') as file:
        row, = csv.DictReader(file)
    assert row['file'] == r'videos/caf\udce9.mp4'


def test_scores_that_are_not_finite_are_errors(folder, infer, monkeypatch):
    """Of each file, and the file that is written is JSON."""
    average = ILALinearHead.average_clip

    def spoil(self, logits, num_segs):
        logits[0, 0] = math.nan
        return average(self, logits, num_segs)

    monkeypatch.setattr(ILALinearHead, 'average_clip', spoil)
    code, _, _ = infer('videos', '--batch-size', '2', '--out', 'nan.json')
    # Each batch has one.
    assert code.startswith('2 of 3 failed:\nvideos/')
    assert code.count('the scores are not finite') == 2

    def refuse(constant):
        raise AssertionError(constant)

    text = (folder / 'nan.json').read_text()
    result = json.loads(text, parse_constant=refuse)
    assert len(result['predictions']) == 1
    assert len(result['errors']) == 2


@pytest.mark.parametrize('arguments, words', [
    (['none*.mp4', 'none'], "no video found at 'none*.mp4, none'"),
    (['videos', '--device', 'cuda:99'], "device 'cuda:99' cannot be used"),
    (['videos', '--classes', 'a,b'], '`classes` are 2 names'),
    (['videos', '--classes', 'none.txt'], "'none.txt' is neither"),
    (['videos', '--stride', '1'], 'stride needs a window'),
    (['videos', '--stream'], '3 videos are not one stream'),
    (['videos', 'c.mp4', '--stream'], '--stream takes one video'),
    (['videos', '--batch-size', '0'], 'batch_size must be a whole num'),
    (['videos', '--cfg-options', f'{PIPELINE}.2.type=Flip'], 'one that decod'),
])
def test_bad_arguments_are_one_line(infer, arguments, words):
    code, _, _ = infer(*arguments)
    assert words in code and '\n' not in code


def test_bad_outputs_are_refused_before_any_work(folder, infer, monkeypatch):
    monkeypatch.setattr(cli, 'load_overridden_config', None)
    (folder / 'folder.json').mkdir()
    for name, words in (('a.txt', 'must end with .json or .csv'),
                        ('tiny.pth/a.csv', 'File exists'), ('folder.json',
                                                            'it is a folder'),
                        (f"{'a' * 300}.csv", 'File name too long')):
        code, out, _ = infer('videos', '--out', name)
        assert words in code and f"cannot write '{name}'" in code
        assert out == ''
    (folder / 'folder.json').rmdir()
