import errno
import os
import shutil
import signal
import subprocess
import sys

import pytest
import torch
from mmengine.dataset import BaseDataset
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.model import BaseModel
from mmengine.runner import Runner

from mmaction.registry import HOOKS
from projects.ila.engine import work_dir
from projects.ila.engine.work_dir import check_unlocked, find_latest_checkpoint
from projects.ila.utils import atomic_file


class OneWeight(BaseModel):

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def forward(self, x, mode, **kwargs):
        if mode == 'loss':
            return dict(loss=(self.weight - 1).square())
        return [self.weight]


class FourItems(BaseDataset):

    def load_data_list(self):
        return [dict(x=0.)] * 4


class Score(BaseMetric):
    """Give one number of a list after the other."""
    values = iter(())

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        return dict(score=next(Score.values))


def build(folder, epochs, scores, resume=False, **hook):
    Score.values = iter(scores)
    loader = dict(
        batch_size=2, dataset=FourItems(), sampler=dict(type='DefaultSampler'))
    return Runner(
        OneWeight(),
        str(folder),
        train_dataloader=loader,
        val_dataloader=dict(loader),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        val_cfg=dict(),
        val_evaluator=Evaluator(Score()),
        resume=resume,
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        default_hooks=dict(
            checkpoint=dict(type='AtomicCheckpointHook', interval=1, **hook)),
        default_scope='mmaction',
        experiment_name=folder.name)


def names(folder):
    return sorted(path.name for path in folder.glob('*.pth*'))


@pytest.mark.parametrize('kind', ['CheckpointHook', 'AtomicCheckpointHook'])
def test_keeps_the_files_that_mmengine_keeps(tmp_path, kind):
    runner = build(
        tmp_path,
        5, [1, 3, 2, 4, 0],
        max_keep_ckpts=2,
        save_best='score',
        rule='greater')
    if kind == 'CheckpointHook':
        runner._hooks = [
            hook for hook in runner._hooks
            if type(hook).__name__ != 'AtomicCheckpointHook'
        ]
        runner.register_hook(
            HOOKS.build(
                dict(
                    type='mmengine.CheckpointHook',
                    interval=1,
                    max_keep_ckpts=2,
                    save_best='score',
                    rule='greater')))
    runner.train()
    assert names(tmp_path) == [
        'best_score_epoch_4.pth', 'epoch_4.pth', 'epoch_5.pth'
    ]
    pointer = (tmp_path / 'last_checkpoint').read_text()
    assert tmp_path / pointer == tmp_path / 'epoch_5.pth'
    if kind == 'AtomicCheckpointHook':
        assert pointer == 'epoch_5.pth'


# The first epoch writes five files, of which the checkpoint comes twice.
@pytest.mark.parametrize('number, name, kept', [
    (6, 'epoch_2.pth', 'epoch_1.pth'),
    (8, 'best_score_epoch_2.pth', 'epoch_2.pth'),
])
def test_full_disk_loses_nothing(tmp_path, monkeypatch, number, name, kept):
    runner = build(
        tmp_path,
        2, [1, 2],
        max_keep_ckpts=1,
        save_best='score',
        rule='greater')
    real, written = atomic_file.os, []

    class FullDisk:
        """The module ``os`` on a disk with room for some files."""

        def __getattr__(self, name):
            return getattr(real, name)

        def fsync(self, descriptor):
            written.append(descriptor)
            if len(written) == number:
                raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(atomic_file, 'os', FullDisk())
    with pytest.raises(OSError) as caught:
        runner.train()
    assert caught.value.errno == errno.ENOSPC
    message = str(caught.value)
    assert name in message and '--resume' in message
    # The old ones are still there and whole, nothing else is.
    assert names(tmp_path) == ['best_score_epoch_1.pth', kept]
    for name in names(tmp_path):
        torch.load(tmp_path / name, weights_only=True)
    assert (tmp_path / 'last_checkpoint').read_text() == kept


BEST = dict(max_keep_ckpts=1, save_best='score', rule='greater')


def test_copied_folder_is_resumed_by_itself(tmp_path):
    first, second = tmp_path / 'first', tmp_path / 'second'
    build(first, 1, [1], **BEST).train()
    shutil.copytree(first, second)
    before = {path: path.read_bytes() for path in first.glob('*.pth')}
    # As MMEngine's hook writes it.
    (second / 'last_checkpoint').write_text(str(first / 'epoch_1.pth'))
    build(second, 2, [2], resume=True, **BEST).train()
    assert names(second) == ['best_score_epoch_2.pth', 'epoch_2.pth']
    assert {path: path.read_bytes() for path in first.glob('*.pth')} == before


@pytest.mark.parametrize('name', ['victim', 'best_score_epoch_1.pth'])
def test_what_a_checkpoint_names_elsewhere_is_not_removed(tmp_path, name):
    folder = tmp_path / 'run'
    build(folder, 1, [1], **BEST).train()
    victim = tmp_path / name
    victim.mkdir()
    (victim / 'keep.txt').touch()
    path = folder / 'epoch_1.pth'
    content = torch.load(path, weights_only=True)
    info = content['message_hub']['runtime_info']
    info.update(
        best_ckpt=str(victim), keep_ckpt_ids=[f'/../../{name}', '{0}', 1])
    torch.save(content, path)
    shutil.copytree(victim, folder / 'epoch_' / name)
    build(folder, 2, [2], resume=True, **BEST).train()
    assert (victim / 'keep.txt').is_file()
    assert (folder / 'epoch_' / name / 'keep.txt').is_file()
    assert (folder / 'epoch_2.pth').is_file()


def test_newest_whole_checkpoint_is_found(tmp_path):
    assert find_latest_checkpoint(str(tmp_path)) is None
    for step in (9, 10, 11):
        torch.save(dict(x=torch.zeros(99)), tmp_path / f'epoch_{step}.pth')
    torch.save(dict(), tmp_path / 'best_score_epoch_12.pth')
    (tmp_path / 'last_checkpoint').write_text('epoch_9.pth')
    assert find_latest_checkpoint(str(tmp_path)).endswith('epoch_9.pth')
    (tmp_path / 'last_checkpoint').write_bytes(b'\xff\xfe')
    assert find_latest_checkpoint(str(tmp_path)).endswith('epoch_11.pth')
    (tmp_path / 'last_checkpoint').unlink()
    newest = tmp_path / 'epoch_11.pth'
    newest.write_bytes(newest.read_bytes()[:500])
    with pytest.warns(UserWarning, match='epoch_11.pth'):
        found = find_latest_checkpoint(str(tmp_path))
    assert found == str(tmp_path / 'epoch_10.pth')
    for path in tmp_path.glob('epoch*'):
        path.write_bytes(b'')
    with pytest.warns(UserWarning), pytest.raises(
            ValueError, match='no whole checkpoint'):
        find_latest_checkpoint(str(tmp_path))


HOLD = f'''
import importlib.util, os, sys, time
from unittest.mock import MagicMock
sys.modules.update(
    {{name: MagicMock() for name in ('own', 'own.engine', 'own.weights',
                                    'own.engine.sharded_checkpoint')}})
spec = importlib.util.spec_from_file_location(
    'own.engine.work_dir', {work_dir.__file__!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
module.lock_work_dir(sys.argv[1])
# As data loaders' workers, which outlive a killed run.
child = os.fork()
if child == 0:
    time.sleep(60)
    os._exit(0)
print(os.getpid(), child, flush=True)
time.sleep(60)
'''


def test_folder_is_one_runs_until_it_ends(tmp_path):
    process = subprocess.Popen([sys.executable, '-c', HOLD, tmp_path],
                               stdout=subprocess.PIPE,
                               text=True)
    try:
        number, child = process.stdout.readline().split()
        with pytest.raises(BlockingIOError, match='--work-dir') as caught:
            build(tmp_path, 1, [1], **BEST).train()
        assert str(tmp_path) in str(caught.value)
        assert f'process {number} on' in str(caught.value)
        with pytest.raises(BlockingIOError):
            check_unlocked(str(tmp_path))
        assert not names(tmp_path)
    finally:
        process.kill()
        process.stdout.close()
        process.wait()
    try:
        check_unlocked(str(tmp_path))
        build(tmp_path, 1, [1], **BEST).train()
        assert len(names(tmp_path)) == 2
    finally:
        os.kill(int(child), signal.SIGKILL)


def test_unknown_argument_is_refused():
    with pytest.raises(TypeError, match="'max_keep'.*'max_keep_ckpts'"):
        HOOKS.build(dict(type='AtomicCheckpointHook', max_keep=1))
