import torch
from mmengine.optim import AmpOptimWrapper, OptimWrapper

from mmaction.registry import OPTIM_WRAPPERS


def test_precision_follows_the_device(monkeypatch):
    weight = torch.nn.Parameter(torch.ones(3))
    cfg = dict(
        type='OptionalAmpOptimWrapper',
        dtype='float16',
        accumulative_counts=2,
        optimizer=torch.optim.SGD([weight], lr=0.5))

    module = 'projects.ila.engine.optimizers.optional_amp_optim_wrapper'
    monkeypatch.setattr(f'{module}.get_device', lambda: 'cpu')
    wrapper = OPTIM_WRAPPERS.build(cfg)
    assert type(wrapper) is OptimWrapper
    with wrapper.optim_context(torch.nn.Identity()):
        assert (torch.ones(1, 3) @ weight).dtype == torch.float32
    # Two losses of half the weight each: one step along their mean.
    for factor in (1, 3):
        wrapper.update_params((factor * weight).sum())
    torch.testing.assert_close(weight.data, torch.zeros(3))

    monkeypatch.setattr(f'{module}.get_device', lambda: 'cuda')
    monkeypatch.setattr(
        'mmengine.optim.optimizer.amp_optimizer_wrapper.is_cuda_available',
        lambda: True)
    wrapper = OPTIM_WRAPPERS.build(cfg)
    assert type(wrapper) is AmpOptimWrapper
    assert wrapper.cast_dtype == torch.float16

    wrapper = OPTIM_WRAPPERS.build({**cfg, 'dtype': 'float32'})
    assert type(wrapper) is OptimWrapper
