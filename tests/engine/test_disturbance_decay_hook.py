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


def train(work_dir, train_cfg, begin, interval, **kwargs):
    model = Model()
    Runner(
        model,
        work_dir=str(work_dir),
        train_dataloader=dict(
            dataset=[dict(x=torch.ones(1))],
            sampler=dict(type='mmengine.DefaultSampler', shuffle=False)),
        train_cfg=train_cfg,
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        custom_hooks=[
            dict(
                type='mmaction.DisturbanceDecayHook',
                begin=begin,
                interval=interval,
                factor=0.5)
        ],
        default_scope='mmaction',
        experiment_name=f'{work_dir.name}_{len(kwargs)}',
        **kwargs).train()
    return model.backbone.scales


def test_runner_and_resume(tmp_path):
    cfg = dict(by_epoch=True, max_epochs=5)
    expected = [1, 1, 0.5, 0.25, 0.125]
    assert train(tmp_path, cfg, 0.4, 0.2) == expected
    checkpoint = str(tmp_path / 'epoch_3.pth')
    assert train(
        tmp_path, cfg, 0.4, 0.2, resume=True,
        load_from=checkpoint) == expected[3:]


def test_iterations(tmp_path, monkeypatch):
    # The loop waits after each pass through the data, here one iteration.
    monkeypatch.setattr('time.sleep', lambda seconds: None)
    cfg = dict(by_epoch=False, max_iters=8)
    assert train(tmp_path, cfg, 0.5, 0.25) == [1, 1, 1, 1, 0.5, 0.5, .25, .25]


class State:
    train_loop = None

    def __init__(self, epoch, max_epochs, model):
        self.epoch = epoch
        self.max_epochs = max_epochs
        self.model = model


@pytest.mark.parametrize('max_epochs, scales', [
    (50, [1] * 30 + [0.5**step for step in range(1, 21)]),
    (10, [1] * 6 + [0.5**step for step in (1, 6, 11, 16)]),
])
def test_defaults(max_epochs, scales):
    model = Model()
    hook = HOOKS.build(dict(type='DisturbanceDecayHook'))
    for epoch in range(max_epochs):
        hook.before_train_epoch(State(epoch, max_epochs, model))
    assert model.backbone.scales == scales


def test_epochs_are_refused():
    with pytest.raises(ValueError, match='begin=0.6 for epoch 30 of 50'):
        HOOKS.build(dict(type='DisturbanceDecayHook', begin=30))


def test_wrapped_model(tmp_path):
    torch.distributed.init_process_group(
        'gloo', f'file://{tmp_path}/store', rank=0, world_size=1)
    try:
        state = State(30, 50, MMDistributedDataParallel(Model()))
        HOOKS.build(
            dict(type='DisturbanceDecayHook')).before_train_epoch(state)
    finally:
        torch.distributed.destroy_process_group()
    assert state.model.module.backbone.scales == [0.5]
