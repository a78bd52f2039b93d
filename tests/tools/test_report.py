import csv
import math
import os
import pickle
import re
from math import comb
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import run_tool
from mmengine.config import Config
from mmengine.evaluator import DumpResults, Evaluator

from mmaction.structures import ActionDataSample
from projects.ila.analysis import accuracy, predictions
from projects.ila.analysis.report import Report

TOOL = 'tools/analysis/report.py'
CLASSES = 7
NAMES = 'a|b,$x$ y,c,d,e,f,never'


def draw(seed, strength, count=300):
    """Scores of classes of which the last has no videos, and labels."""
    labels = np.random.default_rng(5).integers(0, CLASSES - 1, count)
    logits = np.random.default_rng(seed).normal(size=(count, CLASSES))
    logits[range(count), labels] += strength
    return torch.tensor(logits).softmax(1), labels


def write_dump(path, scores, labels, names=True):
    """Write a dump as MMEngine does, in batches of three videos."""
    metric = DumpResults(str(path))
    samples = []
    for number, (score, label) in enumerate(zip(scores, labels)):
        sample = ActionDataSample()
        sample.set_pred_score(score.float().clone())
        sample.set_gt_label(int(label))
        if names:
            sample.set_metainfo(dict(filename=f'videos/{number}.mp4'))
        samples.append(sample)
    evaluator = Evaluator(metric)
    for start in range(0, len(samples), 3):
        evaluator.process(samples[start:start + 3])
    evaluator.evaluate(len(samples))


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('report')
    write_dump(folder / 'own.pkl', *draw(1, 2.0))
    write_dump(folder / 'base.pkl', *draw(2, 1.0), names=False)
    return folder


@pytest.fixture
def own(folder):
    return predictions.read_predictions(str(folder / 'own.pkl'))


@pytest.fixture
def base(folder):
    return predictions.read_predictions(str(folder / 'base.pkl'))


def test_dump_is_read_as_it_was_written(own, base):
    scores, labels = draw(1, 2.0)
    np.testing.assert_allclose(own.scores, scores, atol=1e-7)
    np.testing.assert_array_equal(own.labels, labels)
    assert own.files == [f'videos/{number}.mp4' for number in range(300)]
    assert base.files == []


def test_class_accuracy(own):
    found = accuracy.class_accuracy(Report(own).matrix.numpy())
    guesses = [int(np.argmax(row)) for row in own.scores]
    recalls = []
    for label in range(CLASSES):
        of_label = [g for g, y in zip(guesses, own.labels) if y == label]
        as_label = [y for g, y in zip(guesses, own.labels) if g == label]
        assert found.videos[label] == len(of_label)
        assert found.precision[label] == as_label.count(label) / len(as_label)
        wrong = [g for g in of_label if g != label]
        if not of_label:
            assert math.isnan(found.recall[label])
            assert found.rival[label] == -1
            continue
        recalls.append(of_label.count(label) / len(of_label))
        assert found.recall[label] == recalls[-1]
        assert wrong.count(found.rival[label]) == max(map(wrong.count, wrong))
    assert len(recalls) == CLASSES - 1
    assert found.mean == pytest.approx(sum(recalls) / len(recalls))


def test_classes_that_are_never_predicted():
    found = accuracy.class_accuracy(np.array([[2, 0], [1, 0]]))
    assert found.precision[0] == 2 / 3 and math.isnan(found.precision[1])
    assert [*found.rival] == [-1, 0]


@pytest.mark.parametrize('bins', [1, 15])
def test_calibration(own, bins):
    found = accuracy.calibrate(own, bins)
    error, total = 0, 0
    for number in range(bins):
        inside = [(max(row), np.argmax(row) == label)
                  for row, label in zip(own.scores, own.labels)
                  if number / bins <= max(row) < (number + 1) / bins]
        assert found.videos[number] == len(inside)
        total += len(inside)
        if inside:
            confidence, right = np.mean(inside, axis=0)
            assert found.confidence[number] == pytest.approx(confidence)
            assert found.accuracy[number] == pytest.approx(right)
            error += len(inside) * abs(confidence - right)
    assert total == 300
    assert found.error == pytest.approx(error / 300)


def test_calibration_of_certain_and_of_other_scores(own):
    """The last bin takes 1; logits are no probabilities."""
    certain = own._replace(scores=np.eye(CLASSES)[own.labels])
    found = accuracy.calibrate(certain)
    assert found.videos[-1] == 300 and found.error == 0
    assert accuracy.calibrate(own._replace(scores=own.scores * 2)) is None


def test_intervals(own):
    """Wilson's formula."""
    z, n, p = 1.959964, 300, own.correct.mean()
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert accuracy.accuracy_interval(own.correct) == pytest.approx(
        (middle - half, middle + half), abs=1e-6)


def test_comparison(own, base):
    found = accuracy.compare(own, base)
    pairs = [(int(x), int(y)) for x, y in zip(own.correct, base.correct)]
    gained, lost = pairs.count((1, 0)), pairs.count((0, 1))
    assert (found.gained, found.lost) == (gained, lost)
    assert min(gained, lost) > 10
    mean = (gained - lost) / 300
    assert found.difference == pytest.approx(mean)
    # Of the mean of 300 differences, each 1, 0 or -1.
    half = 1.96 * math.sqrt(((gained + lost) / 300 - mean**2) / 300)
    assert found.low == pytest.approx(mean - half, abs=half / 10)
    assert found.high == pytest.approx(mean + half, abs=half / 10)
    changed = gained + lost
    tail = sum(comb(changed, k) for k in range(min(gained, lost) + 1))
    assert found.p_value == pytest.approx(2 * tail / 2**changed)


def test_comparison_with_itself(own):
    found = accuracy.compare(own, own)
    assert found[2:] == (0, 0, 0, 1)


def test_comparison_needs_the_same_files(own):
    """Whatever folder they are in."""
    moved = [f'/data/{number}.mp4' for number in range(300)]
    assert accuracy.compare(own, own._replace(files=moved)).p_value == 1
    with pytest.raises(ValueError, match='not of the same videos'):
        accuracy.compare(own, own._replace(files=moved[::-1]))


def test_worst_mistakes_come_first(own):

    def excess(number):
        return own.scores[number].max() - own.scores[number,
                                                     own.labels[number]]

    wrong = [n for n in range(300) if excess(n) > 0]
    assert [*accuracy.order_mistakes(own)] == sorted(
        wrong, key=excess, reverse=True)


def test_command_writes_a_report(folder, monkeypatch, own):
    monkeypatch.chdir(folder)
    result = run_tool(TOOL, 'own.pkl', '--baseline', 'base.pkl', '--classes',
                      NAMES, '--out', 'new/report')
    assert result.returncode == 0, result.stderr
    right = np.mean(
        [np.argmax(x) == y for x, y in zip(own.scores, own.labels)])
    top5 = np.mean([(row > row[label]).sum() < 5
                    for row, label in zip(own.scores, own.labels)])
    for row in ('videos +300', 'classes +7, 1 of them without videos',
                f'top-1 accuracy +{100 * right:.1f} %, 95 % interval ',
                f'top-5 accuracy +{100 * top5:.1f} %$',
                'chance +14.3 %, top-5 71.4 %$', r'difference to .* \+\d'):
        assert re.search(f'^{row}', result.stdout, re.M), row
    out = folder / 'new/report'
    with open(out / 'classes.csv', newline='') as file:
        rows = [*csv.DictReader(file)]
    assert [row['name'] for row in rows] == NAMES.split(',')
    videos = sum(int(row['videos']) for row in rows)
    hits = sum(
        int(row['videos']) * float(row['accuracy']) for row in rows[:-1])
    assert hits / videos == pytest.approx(right)
    assert (rows[-1]['accuracy'], rows[-1]['baseline']) == ('', '')
    with open(out / 'mistakes.csv', newline='') as file:
        mistakes = [*csv.DictReader(file)]
    assert len(mistakes) == 300 - own.correct.sum()
    for row in mistakes:
        number = int(re.fullmatch(r'videos/(\d+)\.mp4', row['video'])[1])
        assert row['label'] == NAMES.split(',')[own.labels[number]]
        assert row['predicted'] != row['label']
    text = (out / 'report.md').read_text()
    assert '| 0 | a\\|b | ' in text
    assert f'## Worst 20 of {len(mistakes)} mistakes' in text
    for name in re.findall(r'!\[\]\((.*)\)', text):
        assert (out / name).read_bytes().startswith(b'\x89PNG')
    assert len(list(out.iterdir())) == 5


CONFIG = """
model = dict(cls_head=dict(class_names=['one', 'two']))
test_dataloader = dict(
    dataset=dict(ann_file='list.txt', data_prefix=dict(video='folder')))
"""


def test_names_of_classes_and_files_come_from_the_config(
        tmp_path, monkeypatch):
    """As for dumps of MMAction2's own data sets; logits are drawn, too."""
    monkeypatch.chdir(tmp_path)
    Path('config.py').write_text(CONFIG)
    Path('list.txt').write_text('a.mp4 0\nb.mp4 1\n')
    write_dump('out.pkl', torch.tensor([[3., 1], [9, 2]]), [0, 1], names=False)
    result = run_tool(TOOL, 'out.pkl', '--config', 'config.py', '--out', 'x',
                      '--allow-new-keys')
    assert result.returncode == 0, result.stderr
    assert 'not computed, the scores are not probabilities' in result.stdout
    assert Path('x/mistakes.csv').read_text().splitlines()[1:] == [
        'folder/b.mp4,two,one,9.000,2.000'
    ]
    assert not Path('x/calibration.png').exists()
    Path('list.txt').write_text('a.mp4 1\nb.mp4 1\n')
    result = run_tool(TOOL, 'out.pkl', '--config', 'config.py', '--out', 'x',
                      '--allow-new-keys')
    assert result.stderr == ('out.pkl: its labels are not those of list.txt; '
                             'give the config of the test\n')


def test_folders_of_frames_come_from_the_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('root').mkdir()
    Path('root/list.txt').write_text('10 8 0\n11 9 1\n')
    write_dump('out.pkl', torch.tensor([[3., 1], [9, 2]]), [0, 1], names=False)
    cfg = Config(
        dict(
            test_dataloader=dict(
                dataset=dict(
                    type='RawframeDataset',
                    data_root='root',
                    ann_file='list.txt',
                    data_prefix=dict(img='frames')))))
    dump = predictions.read_predictions('out.pkl')
    found = predictions.add_files(dump, cfg).files
    assert found == ['root/frames/10', 'root/frames/11']


class Attack:

    def __reduce__(self):
        return os.mkdir, ('attacked', )


class TensorAttack:
    """Content of a tensor that would run code."""

    def __reduce__(self):
        return torch.storage._load_from_bytes, (pickle.dumps(Attack(), 2), )


GOOD = dict(pred_score=torch.tensor([0.25, 0.75]), gt_label=torch.tensor([1]))


@pytest.mark.parametrize('content, message', [
    (b'no pickle', 'it cannot be read as predictions'),
    (Attack(), 'Unsupported global: posix.mkdir'),
    ([TensorAttack()], 'it cannot be read as predictions'),
    ([], 'it is not a list of predictions; give a file that'),
    (GOOD, 'it is not a list of predictions; give a file that'),
    ([GOOD, dict(GOOD, gt_label=None)], '1 of 2 predictions have no `gt_lab'),
    ([dict(gt_label=[1])], '1 of 1 predictions have no `pred_score`'),
    ([dict(GOOD, pred_score={})], '`pred_score` holds no numbers'),
    ([GOOD, dict(GOOD, pred_score=[1.])], r'the shapes \(1,\) and \(2,\)'),
    ([dict(GOOD, pred_score=torch.ones(4, 2))], "average_clips='prob'"),
    ([dict(GOOD, gt_label=[1, 0])], 'only predictions for one label'),
    ([dict(GOOD, gt_label=[2])], 'label 2 does not fit the 2 scores'),
    ([dict(GOOD, pred_score=[math.nan, 0])], 'some scores are not finite'),
])
def test_bad_dumps(tmp_path, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    if not isinstance(content, bytes):
        content = pickle.dumps(content)
    Path('bad.pkl').write_bytes(content)
    with pytest.raises(ValueError, match=f'^bad.pkl: .*{message}'):
        predictions.read_predictions('bad.pkl')
    assert not Path('attacked').exists()


@pytest.mark.parametrize('args, message', [
    ('none.pkl', 'Dump file not found: none.pkl. Please check'),
    ('bad.pkl', 'bad.pkl: it is not a list of predictions'),
    ('own.pkl --baseline short.pkl', 'own.pkl (300 videos) and short.pkl (30 '
     'videos) are not of the same videos in the same order'),
    ('own.pkl --baseline two.pkl', 'own.pkl has 7 classes, but two.pkl has 2; '
     'give a baseline with the same classes'),
    ('own.pkl --classes a,b', 'own.pkl has scores of 7 classes, but there are '
     'names of 2'),
])
def test_bad_input(folder, monkeypatch, args, message):
    monkeypatch.chdir(folder)
    Path('bad.pkl').write_bytes(pickle.dumps([]))
    Path('two.pkl').write_bytes(pickle.dumps([GOOD]))
    if not Path('short.pkl').exists():
        write_dump('short.pkl', *draw(2, 1.0, 30))
    result = run_tool(TOOL, *args.split(), '--out', 'bad')
    assert result.returncode == 1
    assert result.stderr.startswith(message)
    assert result.stderr.count('\n') == 1


def test_many_classes_are_drawn_by_number():
    """Hundreds of names would cover each other."""
    from projects.ila.visualization.accuracy import draw_confusion
    figure = draw_confusion(torch.eye(100, dtype=torch.int64), ['name'] * 100)
    figure.canvas.draw()
    texts = [x.get_text() for x in figure.axes[0].get_xticklabels()]
    assert len(texts) < 20 and 'name' not in texts
    assert '20' in texts
