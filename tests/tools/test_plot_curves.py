import json
import math
import re
from pathlib import Path
from uuid import uuid4

import cv2
import numpy as np
import pytest
import torch
from commands import run_tool
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.runner import Runner

from projects.ila.analysis import curves as reading

TOOL = 'tools/analysis/plot_curves.py'


def training(epoch, iteration, **values):
    return dict(values, epoch=epoch, iter=iteration, step=iteration)


def write_log(work_dir, time, *lines):
    """Write a log as LocalVisBackend does."""
    path = work_dir / time / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text(''.join(json.dumps(line) + '\n' for line in lines))
    return path


def test_validation_is_placed_at_the_end_of_its_epoch(tmp_path):
    path = write_log(tmp_path / 'run', '1',
                     training(1, 20, loss=2.5, time=0.5),
                     training(1, 30, loss=2.0, time=0.25), {
                         'acc/top1': 0.5,
                         'time': 7.0,
                         'step': 1
                     }, training(2, 50, loss=1.5, time=0.5),
                     training(2, 60, loss=math.nan, time=0.5), {
                         'acc/top1': 0.75,
                         'time': 8.0,
                         'step': 2
                     })
    curves = reading.read_curves(path)
    assert math.isnan(curves['loss'].pop(60))
    assert curves == {
        'loss': {
            20: 2.5,
            30: 2.0,
            50: 1.5
        },
        'time': {
            20: 0.5,
            30: 0.25,
            50: 0.5,
            60: 0.5
        },
        'acc/top1': {
            30: 0.5,
            60: 0.75
        },
        'val/time': {
            30: 7.0,
            60: 8.0
        }
    }


@pytest.mark.parametrize('by_epoch', [True, False])
def test_validation_by_iteration_stays_there(tmp_path, by_epoch):
    """``log_metric_by_epoch=False``, where step 4 is not epoch 4."""
    lines = []
    for epoch in range(1, 5):
        lines.append(training(epoch, 2 * epoch, loss=1.0))
        if not by_epoch:
            del lines[-1]['epoch']
        if epoch % 2 == 0:
            lines.append({'acc/top1': epoch / 10, 'step': 2 * epoch})
    path = write_log(tmp_path, '1', *lines)
    assert reading.read_curves(path)['acc/top1'] == {4: 0.2, 8: 0.4}


@pytest.mark.parametrize('start', [35, 60])
def test_resumed_run_replaces_what_its_checkpoint_had_not(tmp_path, start):
    # It is the folders' names that tell the order.
    write_log(tmp_path, '20240102_000000', training(2, start, loss=5.0),
              training(2, 65, loss=6.0))
    write_log(tmp_path, '20240101_000000', training(1, 30, loss=1.0), {
        'acc/top1': 0.1,
        'step': 1
    }, training(2, 60, loss=2.0), {
        'acc/top1': 0.2,
        'step': 2
    }, training(3, 90, loss=3.0, loss_align=1.0))
    # A start that was killed before it logged anything.
    write_log(tmp_path, '20240103_000000')
    (tmp_path / '20240104_000000').mkdir()
    assert reading.read_curves(tmp_path) == {
        'loss': {
            30: 1.0,
            start: 5.0,
            65: 6.0
        },
        'acc/top1': {
            30: 0.1
        }
    }


class Count(BaseModel):
    """A model whose loss, and accuracy, is the number of its updates."""

    def __init__(self, offset):
        super().__init__()
        self.offset = offset
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.register_buffer('updates', torch.zeros(1))

    def forward(self, inputs, mode):
        if mode == 'predict':
            return [self.updates.item() + self.offset]
        self.updates += 1
        return dict(loss=self.weight.sum() + self.updates + self.offset)


class Last(BaseMetric):

    def process(self, data_batch, data_samples):
        self.results += data_samples

    def compute_metrics(self, results):
        return {'top1': results[-1]}


def train(work_dir, offset, epochs, **kwargs):
    data = dict(
        dataset=[torch.zeros(1)] * 5,
        sampler=dict(type='DefaultSampler', shuffle=False),
        batch_size=1)
    Runner(
        Count(offset),
        str(work_dir),
        train_dataloader=data,
        val_dataloader=data,
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        val_cfg=dict(),
        val_evaluator=[Last(prefix='acc')],
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.0)),
        default_hooks=dict(
            logger=dict(type='LoggerHook', interval=2, ignore_last=False)),
        log_processor=dict(window_size=1),
        default_scope='mmengine',
        experiment_name=uuid4().hex,
        **kwargs).train()


def test_logs_of_mmengine(tmp_path):
    """Each value tells the iteration where it belongs, and its start."""
    train(tmp_path / 'first', 0, 3)
    checkpoint = tmp_path / 'first' / 'epoch_1.pth'
    train(tmp_path / 'second', 1000, 2, resume=True, load_from=str(checkpoint))
    # Folders of one work directory, had the starts been a second apart.
    for start in ('first', 'second'):
        log, = tmp_path.glob(f'{start}/*/vis_data')
        log.parent.rename(tmp_path / start / start)
    (tmp_path / 'second' / 'second').rename(tmp_path / 'first' / 'second')

    curves = reading.read_curves(tmp_path / 'first')
    assert [*curves['loss'].items()] == [(2, 2), (4, 4), (5, 5), (7, 1007),
                                         (9, 1009), (10, 1010)]
    assert curves['acc/top1'] == {5: 5, 10: 1010}


@pytest.mark.parametrize(
    'last', ['{"loss": 0.', '{"loss": 0.\n', '{"loss": 1.0, "it', '\0\xff'])
def test_cut_last_line_is_left_out(tmp_path, last):
    path = write_log(tmp_path, '1', training(1, 10, loss=2.0))
    path.write_bytes(path.read_bytes() + last.encode('latin-1'))
    assert reading.read_curves(path) == {'loss': {10: 2.0}}


@pytest.mark.parametrize('line', ['{"loss": 0.', '', '[1, 2]', '{"loss": 1}'])
def test_any_other_bad_line_is_named(tmp_path, line):
    path = write_log(tmp_path, '1', training(1, 10, loss=2.0))
    good = path.read_text()
    path.write_text(f'{good}{line}\n{good}')
    with pytest.raises(ValueError, match='line 2 ') as error:
        reading.read_curves(tmp_path)
    assert str(error.value).startswith(f'{path}, line 2 ')
    assert 'delete that line' in str(error.value)


def test_one_run_has_a_colour_per_key():
    run = {
        'loss': {
            2: 3.0,
            4: 1.0
        },
        'loss_cls': {
            2: 2.0
        },
        'acc/top1': {
            4: 0.5
        },
        'memory': {
            2: 90
        }
    }
    figure = reading.draw_curves([run], ['mine'],
                                 ['memory', 'loss', 'loss_cls', 'acc/top1'])
    assert [axis.get_ylabel()
            for axis in figure.axes] == ['losses', 'accuracy', 'memory']
    assert figure.axes[-1].get_xlabel() == 'iteration'
    loss, loss_cls = figure.axes[0].lines
    np.testing.assert_array_equal(loss.get_xydata(), [[2, 3], [4, 1]])
    np.testing.assert_array_equal(loss_cls.get_xydata(), [[2, 2]])
    assert loss.get_color() != loss_cls.get_color()
    assert loss_cls.get_marker() == '.'
    legend = figure.axes[0].get_legend().get_texts()
    assert [x.get_text() for x in legend] == ['loss (mine)', 'loss_cls (mine)']


def test_several_runs_have_a_colour_each():
    runs = [{'loss': {1: 1.0}, 'loss_cls': {1: 2.0}}, {'loss': {1: 3.0}}]
    figure = reading.draw_curves(runs, ['a', 'b'], ['loss', 'loss_cls'])
    first, first_cls, second = figure.axes[0].lines
    assert first.get_color() == first_cls.get_color() != second.get_color()
    assert first.get_linestyle() == second.get_linestyle()
    assert first.get_linestyle() != first_cls.get_linestyle()
    assert second.get_label() == 'loss (b)'


def test_labels_are_names_of_work_directories(tmp_path, monkeypatch):
    log = Path('b/20240101_000000/vis_data/scalars.json')
    monkeypatch.chdir(tmp_path)
    assert reading.label_runs([Path('x/a'), log]) == ['a', 'b']
    assert reading.label_runs([Path('.')]) == [tmp_path.name]
    assert reading.label_runs([Path('x/b'), log]) == ['x/b', str(log)]


def test_command_draws_a_picture(tmp_path, monkeypatch):
    """Without a display, into a new folder, from any working directory."""
    values = dict(
        loss=2.0, loss_cls=1.5, top1_acc=0.5, lr=0.1, base_lr=0.1, time=1.0)
    for name in ('a', 'b'):
        write_log(tmp_path / name, '1', training(1, 10, **values),
                  training(1, 20, **values), {
                      'acc/top5': 1.0,
                      'step': 1
                  })
    monkeypatch.chdir(tmp_path)
    result = run_tool(TOOL, 'a', 'b', '--out', 'new/two.png')
    assert result.returncode == 0, result.stderr
    assert result.stdout == (
        'new/two.png: acc/top5, loss, loss_cls, lr, top1_acc\n')
    picture = tmp_path / 'new' / 'two.png'
    assert picture.read_bytes().startswith(b'\x89PNG\r\n\x1a\n')
    pixels = cv2.imread(str(picture)).reshape(-1, 3)[:, ::-1]
    for colour in ((31, 119, 180), (255, 127, 14)):  # matplotlib's first two
        assert (pixels == colour).all(1).sum() > 100


def test_command_fails_with_a_message(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run_tool(TOOL, 'none')
    assert result.returncode == 1
    assert result.stderr == ('none not found. Please check the path, which is '
                             f'taken from {tmp_path}\n')


@pytest.mark.parametrize('args, message', [
    ('empty', r'empty has no \*/vis_data/scalars.json. Please give'),
    ('tests/1.json', 'tests/1.json has no line of a training log. Please'),
    ('run --keys loss grad_norm x', 'No grad_norm, x in the logs. Please '
     'choose --keys from: loss, time$'),
    ('bare', 'No loss, accuracy or learning rate in the logs. Please choose '
     '--keys from: time$'),
    ('run --out run.mp3', "run.mp3: Format 'mp3' is not supported"),
    ('run --out run/1', "cannot write 'run/1': it is a folder; choose another")
])
def test_bad_input(tmp_path, monkeypatch, args, message):
    monkeypatch.chdir(tmp_path)
    Path('empty').mkdir()
    Path('tests').mkdir()
    Path('tests/1.json').write_text('{"acc/top1": 0.5}')
    write_log(Path('run'), '1', training(1, 10, loss=2.0, time=1.0))
    write_log(Path('bare'), '1', training(1, 10, time=1.0))
    result = run_tool(TOOL, *args.split())
    assert result.returncode == 1
    assert re.search(message, result.stderr.strip())
    assert not list(tmp_path.glob('*.png'))


def test_keys_of_some_runs_only():
    runs = [{'loss': {1: 1.0}}, {'grad_norm': {1: 1.0}}]
    assert reading.choose_keys(
        runs, ['grad_norm', 'loss', 'loss']) == ['grad_norm', 'loss']
