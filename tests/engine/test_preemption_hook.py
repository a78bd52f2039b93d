import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from commands import ROOT, run_tool
from launch import free_port
from mmengine.runner import BaseLoop
from sharded_training import BATCH, make_folder
from torch.utils.data import DataLoader, Dataset

from projects.ila.engine.hooks import PreemptionHook


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


def test_launcher_hands_a_signal_on(folder):
    """And ends after the processes have saved."""
    result = subprocess.run([
        ROOT / 'tools/dist_train.sh', 'whole.py', '2', '--work-dir', 'stopped',
        '--allow-new-keys', '--cfg-options',
        f'sabotage=[2,{-int(signal.SIGUSR1)},0]',
        f'train_dataloader.batch_size={BATCH // 2}'
    ],
                            env=dict(
                                os.environ,
                                PYTHON=sys.executable,
                                PYTHONPATH=str(folder),
                                PORT=free_port(),
                                OMP_NUM_THREADS='1'),
                            capture_output=True,
                            text=True,
                            timeout=300)
    assert result.returncode, result.stderr[-3000:]
    last = folder / 'stopped/last_checkpoint'
    assert Path(last.read_text()).name == 'iter_3.pth', result.stderr[-3000:]


class Loop(BaseLoop):

    def run(self):
        """It is not run."""


class Workers(Dataset):

    def __len__(self):
        return 20

    def __getitem__(self, index):
        return os.getpid()


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGUSR1])
def test_workers_outlive_the_signal_once(number):
    """torchrun and Slurm send it to all processes."""
    loops = [
        Loop(None, DataLoader(Workers(), batch_size=None, num_workers=1))
        for _ in range(2)
    ]
    hook = PreemptionHook()
    hook.before_run(SimpleNamespace(_train_loop=loops[0], _val_loop=loops[1]))
    hook.before_run(SimpleNamespace(_train_loop=dict(), _val_loop=None))
    for loop in loops:
        batches = iter(loop.dataloader)
        os.kill(int(next(batches)), number)
        assert len([*batches]) == 19
    batches = iter(loops[0].dataloader)
    next(batches)
    worker, = batches._workers
    with suppress(RuntimeError):  # Of the data loader, at any time.
        for _ in range(2):
            os.kill(worker.pid, number)
            time.sleep(0.5)  # Two at a time would be one.
    worker.join(60)
    assert worker.exitcode == -number
