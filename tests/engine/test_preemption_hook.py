import signal

import pytest
import torch
from commands import run_tool
from sharded_training import make_folder


@pytest.fixture
def folder(tmp_path, monkeypatch):
    make_folder(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(work_dir, *arguments, sabotage='[-1,0,0]'):
    result = run_tool('tools/train.py', 'whole.py', '--work-dir', work_dir,
                      '--seed', 1, *arguments, '--allow-new-keys',
                      '--cfg-options', 'optim_wrapper.accumulative_counts=3',
                      f'sabotage={sabotage}')
    return result.returncode


def test_training_goes_on_after_a_signal(folder):
    assert train('whole') == 0
    # After the last iteration of an epoch, with gradients that wait for more.
    number = int(signal.SIGTERM)
    assert train('stopped', sabotage=f'[3,{number},0]') == 75
    work_dir = folder / 'stopped'
    stopped = torch.load(work_dir / 'iter_4.pth', weights_only=True)
    assert stopped['meta']['iter'] == 4 and stopped['gradients']
    assert (work_dir / 'last_checkpoint').read_text() == 'iter_4.pth'

    # Only the next checkpoint that is due takes its place.
    assert train('stopped', '--resume', sabotage=f'[4,{number},0]') == 75
    assert sorted(path.name for path in work_dir.glob('*.pth')) == [
        'epoch_1.pth', 'epoch_2.pth', 'iter_5.pth'
    ]
    assert train('stopped', '--resume') == 0
    assert not list(work_dir.glob('iter*'))
    weights, expected = (
        torch.load(folder / name / 'epoch_3.pth', weights_only=True)
        for name in ('stopped', 'whole'))
    for part in ('state_dict', 'ema_state_dict'):
        for name, value in weights[part].items():
            assert torch.equal(value, expected[part][name]), name
