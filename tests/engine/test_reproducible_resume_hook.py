import random
import shutil

import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset
from mmengine.model import BaseModel
from mmengine.runner import Runner

from mmaction.registry import DATASETS


@DATASETS.register_module()
class Draws(BaseDataset):
    """Items of an index and three numbers, drawn in three ways."""

    def __init__(self, size, first=0):
        self.size = size
        self.first = first
        super().__init__()

    def load_data_list(self):
        return [
            dict(index=self.first + index, label=index % 2)
            for index in range(self.size)
        ]

    def get_cat_ids(self, idx):
        return [self.get_data_info(idx)['label']]

    def prepare_data(self, idx):
        draws = [random.random(), np.random.random(), torch.rand(()).item()]
        return dict(
            batch=torch.tensor([self.get_data_info(idx)['index'], *draws]))


class Model(BaseModel):
    """Notes its batches, and draws numbers itself."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(4))
        self.batches = []

    def forward(self, batch, mode):
        batch = torch.stack(batch)
        self.batches.append(batch)
        noise = torch.rand(4)
        return dict(loss=((self.weight + noise - batch)**2).mean())


EPOCHS = dict(by_epoch=True, max_epochs=3)
ITERATIONS = dict(by_epoch=False, max_iters=12)
DATA = dict(type='Draws', size=8)
CONCATENATED = dict(
    type='ConcatDataset',
    datasets=[dict(type='Draws', size=5),
              dict(type='Draws', size=3, first=5)])
BALANCED = dict(type='ClassBalancedDataset', dataset=DATA, oversample_thr=1e-3)


def train(folder,
          loop,
          sampler='DefaultSampler',
          dataset=DATA,
          workers=0,
          counts=3,
          **kwargs):
    """Train with a checkpoint after iteration 7; give the model."""
    model = Model()
    Runner(
        model,
        str(folder),
        train_dataloader=dict(
            batch_size=2,
            num_workers=workers,
            persistent_workers=workers > 0,
            dataset=dataset,
            sampler=dict(type=sampler, shuffle=True)),
        train_cfg=loop,
        optim_wrapper=dict(
            optimizer=dict(type='SGD', lr=0.1, momentum=0.9),
            accumulative_counts=counts),
        default_hooks=dict(
            checkpoint=dict(
                type='AtomicCheckpointHook', interval=7, by_epoch=False)),
        custom_hooks=[dict(type='ReproducibleResumeHook')],
        randomness=dict(seed=3),
        default_scope='mmaction',
        experiment_name=f'{folder.parent.name}_{folder.name}',
        **kwargs).train()
    return model


@pytest.mark.parametrize('loop, sampler, dataset, workers', [
    (EPOCHS, 'DefaultSampler', DATA, 0),
    (EPOCHS, 'DefaultSampler', CONCATENATED, 1),
    (ITERATIONS, 'InfiniteSampler', DATA, 1),
    (ITERATIONS, 'InfiniteSampler',
     dict(type='RepeatDataset', dataset=DATA, times=2), 0),
    (ITERATIONS, 'DefaultSampler', BALANCED, 0),
])
def test_resumed_training_equals_an_uninterrupted_one(tmp_path, loop, sampler,
                                                      dataset, workers):
    loop = dict(loop)
    whole = train(tmp_path / 'whole', loop, sampler, dataset, workers)
    assert len(whole.batches) == 12
    # Each time a video comes up it is seen in another way.
    drawn = torch.cat(whole.batches)
    assert sorted(drawn[:8, 0].tolist()) != drawn[:8, 0].tolist()
    for column in drawn.T[1:]:
        assert len(column.unique()) == 24
    # In the middle of an epoch, and of an accumulation.
    (tmp_path / 'resumed').mkdir()
    shutil.copy(tmp_path / 'whole/iter_7.pth', tmp_path / 'resumed')
    resumed = train(
        tmp_path / 'resumed', loop, sampler, dataset, workers, resume=True)
    # Batches that are done are not even loaded.
    assert torch.equal(
        torch.stack(resumed.batches), torch.stack(whole.batches[7:]))
    assert torch.equal(resumed.weight, whole.weight)


def test_gradients_of_another_accumulation_are_left_out(tmp_path):
    """As if the checkpoint had none."""
    train(tmp_path / 'whole', EPOCHS)
    weights = []
    for name in ('with', 'without'):
        (tmp_path / name).mkdir()
        checkpoint = torch.load(
            tmp_path / 'whole/iter_7.pth', weights_only=False)
        assert checkpoint['gradients']
        if name == 'without':
            del checkpoint['gradients']
        torch.save(checkpoint, tmp_path / name / 'iter_7.pth')
        weights.append(
            train(tmp_path / name, EPOCHS, counts=1, resume=True).weight)
    assert torch.equal(*weights)


@pytest.mark.parametrize('loop, sampler', [(EPOCHS, 'DefaultSampler'),
                                           (ITERATIONS, 'InfiniteSampler')])
def test_draws_do_not_depend_on_processes(tmp_path, loop, sampler,
                                          monkeypatch):
    """Two processes draw in turns what one draws."""
    alone = torch.cat(train(tmp_path / 'alone', dict(loop), sampler).batches)
    for rank in range(2):
        for module in ('mmengine.dataset.sampler',
                       'projects.ila.datasets.samplers.seeded_batch_sampler'):
            monkeypatch.setattr(f'{module}.get_dist_info', lambda: (rank, 2))
        part = train(tmp_path / f'{rank}', dict(loop), sampler)
        part = torch.cat(part.batches)[:12]
        expected = alone[rank::2]
        assert torch.equal(part, expected[:12])
