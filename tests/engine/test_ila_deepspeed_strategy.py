"""What DeepSpeed loads, whose own reader would run code."""
import os
import sys
from types import ModuleType

import pytest
import torch
from mmengine.config import ConfigDict

from projects.ila.engine.strategies import ila_deepspeed_strategy


class LossScaler:
    """Stands in for DeepSpeed's, which may not be installed."""


class Attack:

    def __reduce__(self):
        return os.mkdir, ('attacked', )


@pytest.fixture
def deepspeed(monkeypatch):
    for module, name in ila_deepspeed_strategy._STATES:
        parts = module.split('.')
        for count in range(1, len(parts) + 1):
            parent = '.'.join(parts[:count])
            monkeypatch.setitem(sys.modules, parent, ModuleType(parent))
    for module, name in ila_deepspeed_strategy._STATES:
        setattr(sys.modules[module], name, LossScaler)
    monkeypatch.setattr(LossScaler, '__module__',
                        'deepspeed.runtime.fp16.loss_scaler')


@pytest.mark.parametrize('clip_grad', [
    dict(max_norm=1., norm_type=1),
    dict(type='value', clip_value=1.),
])
def test_other_clipping_is_refused(clip_grad):
    kind = ila_deepspeed_strategy.ILADeepSpeedStrategy
    strategy = kind.__new__(kind)
    strategy.config = dict(train_micro_batch_size_per_gpu=1)
    strategy.dispatch_kwargs = strategy.config
    with pytest.raises(ValueError, match='clips the 2-norm of the gradient'):
        strategy.build_optim_wrapper(
            dict(optimizer=dict(type='SGD'), clip_grad=clip_grad), None)


def test_code_in_a_folder_is_not_run(tmp_path, monkeypatch, deepspeed):
    monkeypatch.chdir(tmp_path)
    scaler = LossScaler()
    scaler.cur_scale = 2.
    content = dict(ds_config=ConfigDict(a=1), loss_scaler=scaler)
    torch.save(content, 'states.pt')
    torch.save(dict(content, extra=Attack()), 'attack.pt')
    original = torch.load
    with ila_deepspeed_strategy._loading_data_only():
        # As DeepSpeed does.
        loaded = torch.load(
            'states.pt', map_location='cpu', weights_only=False)
        with pytest.raises(ValueError, match=r"'attack\.pt' holds more than"):
            torch.load('attack.pt', weights_only=False)
    assert loaded['ds_config'] == dict(a=1)
    assert loaded['loss_scaler'].cur_scale == 2
    assert torch.load is original
    assert not os.path.exists('attacked')
