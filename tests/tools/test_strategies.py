"""Sharded trainings give what an unsharded one gives."""
import importlib.util
import re
import signal

import pytest
import torch
from commands import run_tool
from sharded_training import make_folder, read, read_log, start, train

from projects.ila.engine.work_dir import find_latest_checkpoint, is_whole

HAS_DEEPSPEED = importlib.util.find_spec('deepspeed') is not None


def assert_close(own, other, **tolerance):
    assert own.keys() == other.keys()
    for key, value in own.items():
        torch.testing.assert_close(
            value, other[key], **tolerance or dict(rtol=1e-4, atol=1e-5))


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = make_folder(tmp_path_factory.mktemp('strategies'))
        patch.setenv('PYTHONPATH', str(folder), prepend=':')
        patch.syspath_prepend(str(folder))
        yield folder


@pytest.fixture(scope='module')
def whole(folder):
    """An unsharded training, as a reference."""
    train(folder, 'whole.py', 1, '--work-dir', 'whole', '--seed', '1')
    return folder / 'whole'


@pytest.fixture(scope='module')
def sharded(folder):
    """One with compiled blocks in two processes."""
    train(folder, 'with_fsdp.py', 2, '--work-dir', 'sharded', '--seed', '1', **{
        'model.compile.backend': 'eager',
        'model.backbone.with_cp': True
    })
    return folder / 'sharded'


def test_fsdp_equals_an_unsharded_training(folder, whole, sharded,
                                           monkeypatch):
    monkeypatch.chdir(folder)
    # Of all processes' gradients together, before they are clipped.
    norms = read_log(whole, 'grad_norm')
    assert len(norms) == 6 and min(norms) > 0.5
    assert read_log(sharded, 'grad_norm') == pytest.approx(norms, rel=1e-4)
    assert read_log(sharded, 'lr') == read_log(whole, 'lr')
    for epoch in (1, 3):
        # The averaged ones.
        assert_close(
            read(sharded / f'epoch_{epoch}.pth'),
            read(whole / f'epoch_{epoch}.pth'))
    assert not list(sharded.glob('*.partial'))

    # The weights are tested as those of any other training are.
    accuracies = [
        re.search(r'acc/top1: *(\S+)',
                  run_tool('tools/test.py', config, checkpoint).stdout)[1]
        for config, checkpoint in (('with_fsdp.py', sharded / 'epoch_3.pth'),
                                   ('whole.py', whole / 'epoch_3.pth'))
    ]
    assert accuracies[0] == accuracies[1]


def test_fsdp_goes_on_with_any_number_of_processes(folder, whole, sharded):
    work_dir = folder / 'resumed'
    arguments = '--work-dir', 'resumed', '--seed', '1', '--resume'

    # A signal to one of two processes in the second epoch stops both.
    result = start(
        folder,
        'with_fsdp.py',
        2,
        *arguments,
        sabotage=f'[2,{int(signal.SIGUSR1)},0]')
    assert result.returncode == 75, result.stderr[-3000:]
    assert find_latest_checkpoint(str(work_dir)) == str(work_dir /
                                                        'iter_3.pth')

    # The next run is killed while it writes its second checkpoint.
    result = start(
        folder, 'with_fsdp.py', 2, *arguments, sabotage='[-1,0,9]')
    assert result.returncode != 0
    assert find_latest_checkpoint(str(work_dir)) == str(work_dir /
                                                        'epoch_2.pth')
    assert (work_dir / 'epoch_3.pth.partial').is_dir()
    assert not (work_dir / 'iter_3.pth').exists()
    for name, value in read(work_dir / 'epoch_2.pth').items():
        torch.testing.assert_close(
            value, read(sharded / 'epoch_2.pth')[name], rtol=1e-5, atol=1e-6)

    # One process goes on for an iteration, three end it.
    result = start(
        folder,
        'with_fsdp.py',
        1,
        *arguments,
        sabotage=f'[4,{int(signal.SIGTERM)},0]')
    assert result.returncode == 75, result.stderr[-3000:]
    train(folder, 'with_fsdp.py', 3, *arguments)
    assert_close(read(work_dir / 'epoch_3.pth'), read(whole / 'epoch_3.pth'))
    assert read_log(work_dir, 'lr') == read_log(whole, 'lr')[-1:]


def test_damaged_sharded_checkpoints_are_noticed(sharded, tmp_path):
    checkpoint = sharded / 'epoch_1.pth'
    assert is_whole(str(checkpoint))
    part = next(checkpoint.glob('*.distcp'))
    content = part.read_bytes()
    part.write_bytes(content[:-1])
    with pytest.warns(UserWarning, match=r'epoch_1\.pth.*truncated'):
        assert not is_whole(str(checkpoint))
    part.write_bytes(content)


@pytest.mark.skipif(not HAS_DEEPSPEED, reason='DeepSpeed is not installed')
def test_deepspeed_equals_an_unsharded_training(folder, whole):
    pass
