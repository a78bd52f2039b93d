"""What the tools share."""
import pickle
from types import SimpleNamespace

import pytest
from commands import ROOT
from mmengine.config import Config
from mmengine.evaluator import DumpResults

from projects.ila import cli


@pytest.mark.parametrize('error', [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize('done', [0, 2])
def test_predictions_outlive_a_test_that_stops(tmp_path, capsys, error, done):
    path = tmp_path / 'out.pkl'
    metric = DumpResults(str(path))
    evaluator = SimpleNamespace(metrics=[SimpleNamespace(), metric])
    runner = SimpleNamespace(test_loop=SimpleNamespace(evaluator=evaluator))
    expected = SystemExit if error is KeyboardInterrupt else error
    with pytest.raises(expected):
        with cli.keep_predictions(runner, str(path)):
            metric.process(None, [dict(label=x) for x in range(done)])
            raise error
    partial = tmp_path / 'out.partial.pkl'
    # The name of the whole result is not taken.
    assert list(tmp_path.iterdir()) == ([partial] if done else [])
    if not done:
        return
    assert pickle.loads(partial.read_bytes()) == [dict(label=0), dict(label=1)]
    message = f'the predictions of 2 videos are in {partial}'
    assert message in capsys.readouterr().err


def test_tests_that_dump_nothing_stop_as_ever():
    with pytest.raises(RuntimeError):
        with cli.keep_predictions(None, None):
            raise RuntimeError


def test_no_memory_is_pinned_without_a_gpu():
    cfg = Config.fromfile(ROOT / 'configs/ila_vitb16_k400.py')
    cfg.launcher = 'none'
    loaders = [cfg[f'{split}_dataloader'] for split in ('train', 'val')]
    assert all(loader.pin_memory for loader in loaders)
    cli.prepare_for_cpu(cfg)
    assert not any('pin_memory' in loader for loader in loaders)
    assert loaders[0].num_workers == 8
