"""Resumed runs with another batch size."""
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch.utils.data import Dataset

from mmaction.registry import HOOKS
from projects.ila.engine import hooks  # noqa: F401


class Numbers(Dataset):

    def __len__(self):
        return 12

    def __getitem__(self, index):
        return dict(number=torch.tensor(index))


class Model(BaseModel):

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def forward(self, number, mode):
        return dict(loss=(self.weight - torch.stack(number).float().mean())**2)


@HOOKS.register_module()
class RateHook(Hook):
    """Notes place, learning rate, videos and weight of each iteration."""

    def before_train(self, runner):
        runner.model.seen = []

    def after_train_iter(self, runner, batch_idx, data_batch, outputs):
        runner.model.seen.append(
            (runner.epoch, runner.iter, runner.optim_wrapper.get_lr()['lr'][0],
             [x.item()
              for x in data_batch['number']], runner.model.weight.item()))


def train(folder, batch_size, epochs=4, interval=99, by_epoch=False, **kwargs):
    schedule = dict(by_epoch=True, convert_to_iter_based=not by_epoch)
    model = Model()
    Runner(
        model,
        str(folder),
        train_dataloader=dict(
            batch_size=batch_size,
            num_workers=0,
            dataset=Numbers(),
            sampler=dict(type='DefaultSampler', shuffle=True)),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(
            optimizer=dict(type='SGD', lr=0.1), accumulative_counts=2),
        param_scheduler=[
            dict(type='LinearLR', start_factor=0.1, end=1, **schedule),
            dict(
                type='CosineAnnealingLR',
                begin=1,
                end=4,
                T_max=3,
                eta_min=0.001,
                **schedule)
        ],
        default_hooks=dict(
            checkpoint=dict(
                type='AtomicCheckpointHook',
                interval=interval,
                by_epoch=interval == 1)),
        custom_hooks=[
            dict(type='ReproducibleResumeHook'),
            dict(type='RateHook', priority='LOW')
        ],
        randomness=dict(seed=3),
        default_scope='mmaction',
        experiment_name=f'{folder.parent.name}_{folder.name}_{batch_size}',
        **kwargs).train()
    return model.seen


@pytest.mark.parametrize('by_epoch', [False, True])
@pytest.mark.parametrize('batch_size', [1, 3, 5, 12])
def test_schedule_is_that_of_the_other_batch_size(tmp_path, batch_size,
                                                  by_epoch):
    whole = train(tmp_path / 'whole', batch_size, by_epoch=by_epoch)
    train(tmp_path / 'part', 2, epochs=2, interval=1, by_epoch=by_epoch)
    own = train(tmp_path / 'part', batch_size, by_epoch=by_epoch, resume=True)
    expected = [step for step in whole if step[0] >= 2]
    assert [step[:2] for step in own] == [step[:2] for step in expected]
    assert [step[2]
            for step in own] == pytest.approx([step[2] for step in expected])
    assert [step[3] for step in own] == [step[3] for step in expected]
    assert len({step[4] for step in own}) > len(own) / 2 - 1  # It learns.


@pytest.mark.parametrize('batch_size, first', [(1, 16), (4, 4), (3, 5)])
def test_epoch_goes_on_where_it_was(tmp_path, batch_size, first):
    """After 2 of 6 batches of 2 videos of the second epoch."""
    before = train(tmp_path / 'part', 2, epochs=2, interval=8)[:8]
    (tmp_path / 'part/last_checkpoint').write_text('iter_8.pth')
    own = train(tmp_path / 'part', batch_size, resume=True)
    assert own[0][:2] == (1, first)
    seen = sum((step[3] for step in before[6:] + own if step[0] == 1), [])
    assert {*seen} == {*range(12)}
    assert len(seen) - 12 < batch_size
