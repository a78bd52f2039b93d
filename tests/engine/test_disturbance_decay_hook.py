import pytest
import torch
from mmengine.model import BaseModel, MMDistributedDataParallel
from mmengine.runner import Runner

from mmaction.registry import HOOKS


class Backbone(torch.nn.Linear):
    """Notes the scales it is given."""

    def __init__(self):
        super().__init__(1, 1)
        self.scales = []

    def set_disturbance_scale(self, scale):
        self.scales.append(scale)


class Model(BaseModel):

    def __init__(self):
        super().__init__()
        self.backbone = Backbone()

    def forward(self, x, mode):
        return dict(loss=self.backbone(torch.stack(x)).sum())


def train(work_dir, max_epochs, **kwargs):
    model = Model()
    Runner(
        model,
        work_dir=str(work_dir),
        train_dataloader=dict(
            dataset=[dict(x=torch.ones(1))],
            sampler=dict(type='mmengine.DefaultSampler', shuffle=False)),
        train_cfg=dict(by_epoch=True, max_epochs=max_epochs),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        custom_hooks=[
            dict(type='mmaction.DisturbanceDecayHook', begin=2, factor=0.5)
        ],
        default_scope='mmaction',
        experiment_name=f'{work_dir.name}_{max_epochs}',
        **kwargs).train()
    return model.backbone.scales


def test_runner_and_resume(tmp_path):
    assert train(tmp_path, 3) == [1, 1, 0.5]
    assert train(tmp_path, 5, resume=True) == [0.25, 0.125]


@pytest.mark.parametrize('epoch, scale', [(0, 1), (29, 1), (30, 0.5),
                                          (31, 0.25), (49, 2**-20)])
def test_defaults(epoch, scale):

    class State:
        model = Model()

    State.epoch = epoch
    HOOKS.build(dict(type='DisturbanceDecayHook')).before_train_epoch(State)
    assert State.model.backbone.scales == [scale]


def test_wrapped_model(tmp_path):

    class State:
        epoch = 30

    torch.distributed.init_process_group(
        'gloo', f'file://{tmp_path}/store', rank=0, world_size=1)
    try:
        State.model = MMDistributedDataParallel(Model())
        HOOKS.build(
            dict(type='DisturbanceDecayHook')).before_train_epoch(State)
    finally:
        torch.distributed.destroy_process_group()
    assert State.model.module.backbone.scales == [0.5]
