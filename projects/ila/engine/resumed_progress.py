"""Progress of a resumed run whose epochs have another length."""
import copy
import warnings
from typing import List, Optional

from mmengine.dist import get_world_size
from mmengine.runner import EpochBasedTrainLoop, Runner


def describe_epoch(runner: Runner) -> dict:
    """Say how long an epoch is, for a checkpoint's ``meta``; nothing for a
    loop by iterations."""
    if not isinstance(runner.train_loop, EpochBasedTrainLoop):
        return dict()
    loader = runner.train_dataloader
    return dict(
        epoch_length=len(loader),
        total_batch=(loader.batch_size or 1) * get_world_size())


def has_other_epochs(runner: Runner, checkpoint: dict) -> bool:
    """Whether an epoch of the run that wrote a checkpoint had another number
    of iterations."""
    length = checkpoint.get('meta', {}).get('epoch_length')
    return (length is not None
            and isinstance(runner.train_loop, EpochBasedTrainLoop)
            and length != len(runner.train_dataloader))


def _train_schedules(runner: Runner, epochs: int, batches: int) -> List[dict]:
    """Take schedules that were just built to a place in the training.

    Returns:
        list[dict]: Settings of the optimizer's groups there.
    """
    length = len(runner.train_dataloader)
    with warnings.catch_warnings():
        # No step of the optimizer comes before.
        warnings.filterwarnings('ignore', message='Detected call of')
        for epoch in range(epochs + 1):
            for _ in range(length if epoch < epochs else batches):
                for schedule in runner.param_schedulers:
                    if not schedule.by_epoch:
                        schedule.step()
            if epoch < epochs:
                for schedule in runner.param_schedulers:
                    if schedule.by_epoch:
                        schedule.step()
    return [{
        name: copy.copy(value)
        for name, value in group.items() if name != 'params'
    } for group in runner.optim_wrapper.param_groups]


class ResumedProgress:
    """Takes a resumed run to the same part of its training where its epochs
    have another number of iterations, as with another batch size, other
    machines or more videos.

    MMEngine counts iterations, and its schedules are made for those of the
    run that wrote the checkpoint. Here they are the config's, at the same
    epoch and after as many of its videos.

    Args:
        runner (Runner): It has not read the checkpoint's states yet.
        checkpoint (dict): The place in its ``meta`` is corrected.
    """

    def __init__(self, runner: Runner, checkpoint: dict) -> None:
        meta, length = checkpoint['meta'], len(runner.train_dataloader)
        former = meta['epoch_length']
        videos = meta.get('batches_of_epoch', 0) * meta['total_batch']
        batches = min(videos // describe_epoch(runner)['total_batch'],
                      length - 1)
        meta.update(
            iter=meta['epoch'] * length + batches, batches_of_epoch=batches)
        # They count the iterations of the former epochs.
        checkpoint.pop('gradients', None)
        self._groups: Optional[List[dict]] = None
        if isinstance(runner.param_schedulers, list):
            self._groups = _train_schedules(runner, meta['epoch'], batches)
            self._schedules = [
                schedule.state_dict() for schedule in runner.param_schedulers
            ]
        runner.logger.warning(
            f'An epoch has {length} iterations now and had {former} before: '
            f'the run goes on from iteration {meta["iter"]}, and learning '
            "rate and schedule are this config's.")

    def apply(self, runner: Runner) -> None:
        """Set the schedules, after the checkpoint's have been read."""
        if self._groups is None:
            return
        for schedule, state in zip(runner.param_schedulers, self._schedules):
            schedule.load_state_dict(state)
        for group, settings in zip(runner.optim_wrapper.param_groups,
                                   self._groups):
            group.update(settings)
