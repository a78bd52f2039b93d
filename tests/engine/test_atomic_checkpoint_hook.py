import errno

import pytest
import torch
from mmengine.dataset import BaseDataset
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.model import BaseModel
from mmengine.runner import Runner

from mmaction.registry import HOOKS
from projects.ila.utils import atomic_file


class OneWeight(BaseModel):

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def forward(self, x, mode, **kwargs):
        if mode == 'loss':
            return dict(loss=(self.weight - 1).square())
        return [self.weight]


class FourItems(BaseDataset):

    def load_data_list(self):
        return [dict(x=0.)] * 4


class Score(BaseMetric):
    """Give one number of a list after the other."""
    values = iter(())

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        return dict(score=next(Score.values))


def build(folder, epochs, scores, **hook):
    Score.values = iter(scores)
    loader = dict(
        batch_size=2, dataset=FourItems(), sampler=dict(type='DefaultSampler'))
    return Runner(
        OneWeight(),
        str(folder),
        train_dataloader=loader,
        val_dataloader=dict(loader),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        val_cfg=dict(),
        val_evaluator=Evaluator(Score()),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        default_hooks=dict(
            checkpoint=dict(type='AtomicCheckpointHook', interval=1, **hook)),
        default_scope='mmaction',
        experiment_name=folder.name)


def names(folder):
    return sorted(path.name for path in folder.glob('*.pth*'))


@pytest.mark.parametrize('kind', ['CheckpointHook', 'AtomicCheckpointHook'])
def test_keeps_the_files_that_mmengine_keeps(tmp_path, kind):
    runner = build(
        tmp_path,
        5, [1, 3, 2, 4, 0],
        max_keep_ckpts=2,
        save_best='score',
        rule='greater')
    if kind == 'CheckpointHook':
        runner._hooks = [
            hook for hook in runner._hooks
            if type(hook).__name__ != 'AtomicCheckpointHook'
        ]
        runner.register_hook(
            HOOKS.build(
                dict(
                    type='mmengine.CheckpointHook',
                    interval=1,
                    max_keep_ckpts=2,
                    save_best='score',
                    rule='greater')))
    runner.train()
    assert names(tmp_path) == [
        'best_score_epoch_4.pth', 'epoch_4.pth', 'epoch_5.pth'
    ]
    assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path /
                                                             'epoch_5.pth')


# The first epoch writes five files, of which the checkpoint comes twice.
@pytest.mark.parametrize('number, name, kept', [
    (6, 'epoch_2.pth', 'epoch_1.pth'),
    (8, 'best_score_epoch_2.pth', 'epoch_2.pth'),
])
def test_full_disk_loses_nothing(tmp_path, monkeypatch, number, name, kept):
    runner = build(
        tmp_path,
        2, [1, 2],
        max_keep_ckpts=1,
        save_best='score',
        rule='greater')
    real, written = atomic_file.os, []

    class FullDisk:
        """The module ``os`` on a disk with room for some files."""

        def __getattr__(self, name):
            return getattr(real, name)

        def fsync(self, descriptor):
            written.append(descriptor)
            if len(written) == number:
                raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(atomic_file, 'os', FullDisk())
    with pytest.raises(OSError) as caught:
        runner.train()
    assert caught.value.errno == errno.ENOSPC
    message = str(caught.value)
    assert name in message and '--resume' in message
    # The old ones are still there and whole, nothing else is.
    assert names(tmp_path) == ['best_score_epoch_1.pth', kept]
    for name in names(tmp_path):
        torch.load(tmp_path / name, weights_only=True)
    assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / kept)
