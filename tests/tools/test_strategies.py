"""Sharded trainings give what an unsharded one gives."""
import importlib.util
import re
import shutil
import signal

import pytest
import torch
from commands import run_tool
from mmengine.logging import MMLogger
from sharded_training import make_folder, read, read_log, start, train

from projects.ila.engine.sharded_checkpoint import load_sharded
from projects.ila.engine.strategies import ILAFSDPStrategy, ila_fsdp_strategy
from projects.ila.engine.work_dir import find_latest_checkpoint, is_whole
from projects.ila.weights import read_checkpoint

HAS_DEEPSPEED = importlib.util.find_spec('deepspeed') is not None


def assert_close(own, other):
    assert own.keys() == other.keys()
    for key, value in own.items():
        torch.testing.assert_close(value, other[key], rtol=1e-4, atol=1e-5)


def read_accuracy(config, checkpoint):
    result = run_tool('tools/test.py', config, checkpoint)
    assert result.returncode == 0, result.stderr[-3000:]
    return re.search(r'acc/top1: *(\S+)', result.stdout)[1]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = make_folder(tmp_path_factory.mktemp('strategies'))
        patch.syspath_prepend(str(folder))
        patch.chdir(folder)
        yield folder


@pytest.fixture(scope='module')
def whole(folder):
    """An unsharded training, as a reference."""
    train(folder, 'whole.py', 1, '--work-dir', 'whole', '--seed', '1')
    return folder / 'whole'


def test_fsdp_equals_an_unsharded_training(folder, whole):
    """It goes on with other numbers of processes, whatever ended it."""
    work_dir = folder / 'sharded'
    arguments = '--work-dir', 'sharded', '--seed', '1', '--resume'
    norms = read_log(whole, 'grad_norm')
    assert len(norms) == 6 and min(norms) > 0.5  # All are clipped.

    # Two processes, with compiled parts. A signal to one of them in the
    # second epoch stops both.
    result = start(
        folder, 'with_fsdp.py', 2, *arguments, '--no-validate', **{
            'sabotage': f'[2,{int(signal.SIGUSR1)},0]',
            'model.compile.backend': 'eager'
        })
    assert result.returncode == 75, result.stderr[-3000:]
    assert read_log(work_dir, 'grad_norm') == pytest.approx(norms[:3], 1e-4)
    # The averaged weights, as for the unsharded training.
    assert_close(read(work_dir / 'epoch_1.pth'), read(whole / 'epoch_1.pth'))
    latest = find_latest_checkpoint(str(work_dir))
    assert latest == str(work_dir / 'iter_3.pth')

    # Three, of which one is killed while it writes its second checkpoint.
    result = start(folder, 'with_fsdp.py', 3, *arguments, sabotage='[-1,0,6]')
    assert result.returncode != 0
    assert_close(read(work_dir / 'epoch_2.pth'), read(whole / 'epoch_2.pth'))
    assert not (work_dir / 'iter_3.pth').exists()
    assert (work_dir / 'epoch_3.pth.partial').is_dir()
    latest = find_latest_checkpoint(str(work_dir))
    assert latest == str(work_dir / 'epoch_2.pth')

    train(folder, 'with_fsdp.py', 1, *arguments,
          **{'default_hooks.checkpoint.save_best': 'acc/top1'})
    assert read_log(work_dir, 'grad_norm') == pytest.approx(norms[4:], 1e-4)
    assert read_log(work_dir, 'lr') == read_log(whole, 'lr')[4:]
    assert_close(read(work_dir / 'epoch_3.pth'), read(whole / 'epoch_3.pth'))
    # It was saved again with its score, and would go on from its end.
    for name in ('epoch_3.pth', 'best_acc_top1_epoch_3.pth'):
        meta = read_checkpoint(str(work_dir / name / 'weights.pth'))['meta']
        assert (meta['epoch'], meta['iter']) == (3, 6), name
    assert not [*work_dir.glob('*.partial'), *work_dir.glob('*.removed')]
    # The weights are tested as those of any other training are.
    assert read_accuracy('with_fsdp.py',
                         work_dir / 'epoch_3.pth') == read_accuracy(
                             'whole.py', whole / 'epoch_3.pth')

    # What the disk has lost a part of is not resumed.
    part = next((work_dir / 'epoch_3.pth').glob('*.distcp'))
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.warns(UserWarning, match=r"epoch_3\.pth' .*truncated"):
        assert not is_whole(str(work_dir / 'epoch_3.pth'))


@pytest.mark.skipif(not HAS_DEEPSPEED, reason='DeepSpeed is not installed')
def test_deepspeed_equals_an_unsharded_training(folder, whole):
    work_dir = folder / 'deepspeed'
    arguments = 'with_deepspeed.py', 2, '--work-dir', 'deepspeed', '--seed', 1
    train(folder, *arguments)
    for epoch in (1, 3):
        reference = torch.load(whole / f'epoch_{epoch}.pth', weights_only=True)
        assert_close(
            read(work_dir / f'epoch_{epoch}.pth'), {
                name.removeprefix('module.'): value
                for name, value in reference['ema_state_dict'].items()
                if name != 'steps'
            })
    assert not list(work_dir.glob('*.partial'))

    # A resumed run, optimizer included, gives the same last epoch.
    final = work_dir / 'epoch_3.pth'
    expected = read(final)
    shutil.move(final, work_dir / 'uninterrupted')
    (work_dir / 'last_checkpoint').write_text('epoch_2.pth')
    train(folder, *arguments, '--resume')
    resumed = read(final)
    for key, value in expected.items():
        assert torch.equal(value, resumed[key]), key
    read_accuracy('with_deepspeed.py', final)


def test_what_a_sharded_training_cannot_do(folder, whole):
    result = run_tool('tools/train.py', 'with_fsdp.py', '--allow-new-keys',
                      '--cfg-options', 'val_dataloader.sampler.round_up=False')
    assert 'remove `val_dataloader.sampler.round_up`' in result.stderr
    result = run_tool('tools/train.py', 'with_fsdp.py', '--work-dir',
                      'refused', '--allow-new-keys')
    assert result.returncode == 1
    assert 'use tools/dist_train.sh' in result.stderr
    with pytest.raises(
            ValueError, match=r"epoch_1\.pth' is not a checkpoint of"):
        load_sharded(str(whole / 'epoch_1.pth'), {})


@pytest.mark.parametrize('change, differing', [
    (dict(), None),
    (dict(bias=torch.ones(2)), 'bias'),
    ({
        '1.bias': torch.ones(3)
    }, '1.bias'),
])
def test_sharded_weights_of_another_model(change, differing, monkeypatch):
    """Features of texts are no part of it: they are computed again."""
    strategy = ILAFSDPStrategy.__new__(ILAFSDPStrategy)
    strategy.logger = MMLogger.get_current_instance()
    strategy.model = torch.nn.Linear(2, 3)
    saved = {
        'weight': torch.ones(3, 2),
        'bias': torch.ones(3),
        'cls_head.text_features': torch.ones(3),
        **change
    }
    monkeypatch.setattr(ila_fsdp_strategy, 'load_sharded',
                        lambda *_: dict(state_dict=saved))
    if differing:
        with pytest.raises(
                ValueError, match=f"model, whose '{differing}' differs"):
            strategy.load_checkpoint('a')
        return
    strategy.load_checkpoint('a')
    assert (strategy.model.weight == 1).all()
