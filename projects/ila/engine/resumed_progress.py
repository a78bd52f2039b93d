"""Progress of a resumed run whose epochs have a new length."""
import copy
import warnings
from typing import List, Optional

from mmengine.dist import get_world_size
from mmengine.runner import EpochBasedTrainLoop, Runner


def describe_epoch(runner: Runner) -> dict:
    """Get the length of an epoch for a checkpoint's ``meta``; nothing for an
    iteration-based loop."""
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
    """Step newly built schedules to a point in the training.

    Returns:
        list[dict]: Settings of the optimizer's groups at that point.
    """
    length = len(runner.train_dataloader)
    with warnings.catch_warnings():
        # PyTorch warns because the optimizer has not stepped yet.
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
    """Move a resumed run to the same point of its training although an epoch
    has another number of iterations, because of another batch size, other
    machines or more videos.

    MMEngine counts iterations and restores schedules that were made for the
    former epochs. This class sets schedules of the current config, at the same
    epoch and after the same number of its videos.

    Args:
        runner (Runner): The runner, before it reads the checkpoint's states.
        checkpoint (dict): The epoch and iteration in its ``meta`` are
            corrected.
    """

    def __init__(self, runner: Runner, checkpoint: dict) -> None:
        meta, length = checkpoint['meta'], len(runner.train_dataloader)
        former = meta['epoch_length']
        videos = meta.get('batches_of_epoch', 0) * meta['total_batch']
        batches = min(videos // describe_epoch(runner)['total_batch'],
                      length - 1)
        meta.update(
            iter=meta['epoch'] * length + batches, batches_of_epoch=batches)
        # They were accumulated at an iteration of the former epochs.
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
        """Set the schedules, after those of the checkpoint were read."""
        if self._groups is None:
            return
        for schedule, state in zip(runner.param_schedulers, self._schedules):
            schedule.load_state_dict(state)
        for group, settings in zip(runner.optim_wrapper.param_groups,
                                   self._groups):
            group.update(settings)
