import json
import re
from itertools import count
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.model import BaseModel
from mmengine.runner import Runner

from mmaction.registry import DATASETS, HOOKS, MODELS
from projects.ila.engine.console import SummaryHook
from projects.ila.engine.hooks.resume_check_hook import parse_config

# MMEngine gives runs of one name in one second the same log.
NUMBERS = count()


@MODELS.register_module()
class ModelOfClasses(BaseModel):

    def __init__(self, cls_head):
        super().__init__()
        if 'class_names' in cls_head:  # A text head.
            self.cls_head = SimpleNamespace(
                num_classes=len(cls_head['class_names']))
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def forward(self, mode, **kwargs):
        return dict(loss=self.weight**2)


@DATASETS.register_module()
class Items(BaseDataset):

    def load_data_list(self):
        return [dict(x=0.)] * int(self.ann_file)


def train(folder,
          batch_size=2,
          size=4,
          classes=3,
          lr=0.1,
          end=2,
          epochs=1,
          hooks=(),
          seed=0,
          optimizer='SGD',
          schedules=('ConstantLR', ),
          **kwargs):
    """Train; give the learning rate of the last iteration and the log."""
    cls_head = dict(num_classes=classes)
    if isinstance(classes, str):
        cls_head = dict(class_names=[*classes])
    cfg = Config(
        dict(
            model=dict(type='ModelOfClasses', cls_head=cls_head),
            work_dir=str(folder),
            train_dataloader=dict(
                batch_size=batch_size,
                dataset=dict(type='Items', ann_file=str(size)),
                sampler=dict(type='DefaultSampler', shuffle=True)),
            train_cfg=dict(by_epoch=True, max_epochs=epochs),
            optim_wrapper=dict(optimizer=dict(type=optimizer, lr=lr)),
            param_scheduler=[
                dict(
                    type=kind,
                    end=end,
                    by_epoch=True,
                    **dict(factor=0.5) if 'ConstantLR' in kind else dict())
                for kind in schedules
            ],
            custom_hooks=[*hooks, dict(type='ResumeCheckHook')],
            randomness=dict(seed=seed),
            default_scope='mmaction',
            experiment_name=f'{folder.name}_{next(NUMBERS)}',
            **kwargs))
    runner = Runner.from_cfg(cfg)
    runner.train()
    log = '\n'.join(path.read_text() for path in folder.glob('*/*.log'))
    return runner.optim_wrapper.get_lr()['lr'][0], log


def test_differences_are_named(tmp_path):
    train(tmp_path)
    rate, log = train(tmp_path, 4, 5, lr=7., end=9, epochs=2, resume=True)
    for line in (
            'train_dataloader.batch_size: 2 before, 4 now; the latter holds',
            "train_dataloader.dataset.ann_file: '4' before, '5' now; the "
            'latter holds',
            'train_cfg.max_epochs: 1 before, 2 now; the latter holds',
            'optim_wrapper.optimizer.lr: 0.1 before, 7.0 now; the former',
            'param_scheduler.0.end: 2 before, 9 now; the former holds',
            'number of training videos: 4 before, 5 now; the latter holds'):
        assert line in log
    # What it says of the learning rate and its schedule is what happens.
    assert rate == pytest.approx(0.1)


def test_seed_and_hooks_are_compared(tmp_path):
    """Hooks by their types, wherever they stand."""
    train(tmp_path, hooks=[dict(type='EMAHook', momentum=0.1)])
    hooks = [dict(type='SyncBuffersHook'), dict(type='EMAHook', momentum=0.2)]
    _, log = train(tmp_path, hooks=hooks, seed=1, epochs=2, resume=True)
    said = re.search('begun with:\n(.*?)\nTo train', log, re.S)[1]
    assert [line.strip() for line in said.splitlines()] == [
        'train_cfg.max_epochs: 1 before, 2 now; the latter holds',
        'custom_hooks.EMAHook.momentum: 0.1 before, 0.2 now; the latter holds',
        'randomness.seed: 0 before, 1 now; the former holds',
        "custom_hooks.SyncBuffersHook.type: not set before, "
        "'SyncBuffersHook' now; the latter holds"
    ]


def test_nothing_is_said_of_the_same_run(tmp_path):
    train(tmp_path)
    _, log = train(tmp_path, resume=True)
    assert 'differs' not in log


@pytest.mark.parametrize('classes, others', [(3, 4), ('abc', 'abcd')])
def test_other_number_of_classes_is_refused(tmp_path, classes, others):
    train(tmp_path, classes=classes)
    with pytest.raises(ValueError, match='3 classes.*resumed with 4.*load_fr'):
        train(tmp_path, classes=others, epochs=3, resume=True)


@pytest.mark.parametrize('settings, message', [
    (dict(optimizer='Adam'), "optimizer.type. was 'SGD' and is 'Adam'"),
    (dict(schedules=['PolyLR']), "type. was 'ConstantLR' and is 'PolyLR'"),
    (dict(schedules=['ConstantLR', 'PolyLR']), 'was not set and is .PolyLR'),
])
def test_other_kinds_are_refused(tmp_path, settings, message):
    train(tmp_path)
    with pytest.raises(ValueError, match=f'{message}.*`load_from`'):
        train(tmp_path, epochs=3, resume=True, **settings)


def test_other_names_of_the_same_kinds_are_accepted(tmp_path):
    train(tmp_path)
    train(
        tmp_path,
        epochs=2,
        resume=True,
        optimizer='torch.optim.SGD',
        schedules=['mmengine.ConstantLR'])
    assert (tmp_path / 'epoch_2.pth').exists()


@pytest.mark.parametrize('part', ['optimizer', 'param_schedulers'])
def test_weights_alone_are_refused(tmp_path, part):
    train(tmp_path)
    content = torch.load(tmp_path / 'epoch_1.pth', weights_only=True)
    del content[part]
    torch.save(content, tmp_path / 'epoch_1.pth')
    with pytest.raises(ValueError, match='weights without the state.*`load_f'):
        train(tmp_path, epochs=3, resume=True)


def test_other_trained_parameters_are_refused(tmp_path):
    train(tmp_path)
    content = torch.load(tmp_path / 'epoch_1.pth', weights_only=True)
    group, = content['optimizer']['param_groups']
    content['optimizer']['param_groups'] = [group, dict(group, params=[1, 2])]
    torch.save(content, tmp_path / 'epoch_1.pth')
    with pytest.raises(
            ValueError,
            match='trained 3 parameters in 2 groups, this config trains 1 in '
            '1; .*freeze_image.*`load_from`'):
        train(tmp_path, epochs=3, resume=True)


def test_seed_of_the_record_is_that_in_force(tmp_path):
    HOOKS.register_module(module=SummaryHook, force=True)
    hooks = [dict(type='RunRecordHook'), dict(type='SummaryHook')]
    train(tmp_path, hooks=hooks, seed=7)
    _, log = train(tmp_path, hooks=hooks, seed=8, epochs=2, resume=True)
    seeds = {
        json.loads(path.read_text())['seed']
        for path in tmp_path.glob('*/run.json')
    }
    assert seeds == {7}
    assert 'seed: 7\n' in log and 'seed 8' not in log


def test_configs_of_checkpoints_are_not_run(tmp_path):
    assert parse_config(f"open('{tmp_path}/ran', 'w')\na = 1") is None
    assert parse_config(f"a = open('{tmp_path}/ran', 'w')") is None
    assert parse_config("a = dict({'b.c': [1, (2., None)]}, d=-1)") == dict(
        a={
            'b.c': [1, [2., None]],
            'd': -1
        })
    train(tmp_path)
    content = torch.load(tmp_path / 'epoch_1.pth', weights_only=True)
    content['meta']['config'] = f"open('{tmp_path}/ran', 'w')"
    torch.save(content, tmp_path / 'epoch_1.pth')
    train(tmp_path, epochs=2, resume=True)
    assert not (tmp_path / 'ran').exists()
