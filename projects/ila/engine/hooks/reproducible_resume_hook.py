from itertools import chain, repeat
from typing import Optional

from mmengine.dist import all_reduce, get_rank, get_world_size
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import IterBasedTrainLoop, Runner, set_random_seed
from torch.utils.data import BatchSampler, DataLoader

from mmaction.registry import DATA_SAMPLERS, HOOKS
from ...datasets.samplers import SeededBatchSampler
from ...utils import is_sharded_model, mix_seed, unwrap_model
from ..resumed_progress import (ResumedProgress, describe_epoch,
                                has_other_epochs)


@HOOKS.register_module()
class ReproducibleResumeHook(Hook):
    """Let a resumed training continue as if it had not been interrupted.

    MMEngine resumes weights, optimizer, schedulers and EMA, but neither random
    numbers nor gradients that are still being accumulated. With this hook, the
    random numbers of an iteration depend only on the seed, the iteration and
    the process. The random numbers of a sample, in any data set, depend only
    on the seed and the number of its draw, see :class:`SeededBatchSampler`.
    Training continues with the batch that would have come next, without
    loading earlier ones, in both of MMEngine's training loops and also within
    an epoch. Accumulated gradients are saved with the checkpoint, but dropped
    if ``accumulative_counts`` has changed. If epochs have another length than
    before, see :class:`ResumedProgress`.

    The data loader must be given as a config. DeepSpeed loses accumulated
    gradients.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._gradients: Optional[dict] = None
        self._counts: Optional[int] = None  # Iterations per step.
        self._batches = 0  # Already done in the epoch of a resumed run.
        self._epoch_start: Optional[int] = None
        self._progress: Optional[ResumedProgress] = None

    def before_train(self, runner: Runner) -> None:
        """Restore seed, position and gradients of a resumed run."""
        loop = runner.train_loop
        loader = loop.dataloader
        by_iter = isinstance(loop, IterBasedTrainLoop)
        if not runner.iter:
            self._batches, self._gradients = 0, None
        if self._progress is not None:
            self._progress.apply(runner)
            self._progress = None
        if loader.batch_sampler is not None:
            batches = SeededBatchSampler(
                _build_batch_sampler(runner, loader), _common_seed(runner),
                by_iter)
            batches.skip = runner.iter if by_iter else self._batches
            # `DataLoader` refuses to change these, since iterators may exist.
            # The only one belongs to an iteration-based loop, and was made
            # before the checkpoint was read.
            vars(loader).update(
                sampler=getattr(batches, 'sampler', loader.sampler),
                batch_sampler=batches)
            if by_iter:
                loop.dataloader_iterator = loader._iterator = None
                # The loop first skips as many batches as are already done.
                loop.dataloader_iterator = chain(
                    repeat(None, runner.iter), iter(loader))
        counts = getattr(runner.optim_wrapper, '_accumulative_counts', None)
        if self._gradients and self._counts not in (None, counts):
            runner.logger.warning(
                'Gradients that were accumulated for a step of '
                f'{self._counts} iterations are left out, since '
                f'`optim_wrapper.accumulative_counts` is {counts} now.')
        elif self._gradients:
            for name, parameter in unwrap_model(
                    runner.model).named_parameters():
                if name in self._gradients:
                    parameter.grad = self._gradients[name].to(parameter)
        self._gradients = None

    def before_train_epoch(self, runner: Runner) -> None:
        """Set the data loader's epoch."""
        if isinstance(runner.train_loop, IterBasedTrainLoop):
            return
        batches = runner.train_dataloader.batch_sampler
        if isinstance(batches, SeededBatchSampler):
            batches.epoch = runner.epoch
        self._epoch_start = runner.iter - self._batches
        self._batches = 0

    def before_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        """Seed the iteration."""
        set_random_seed(mix_seed(runner.seed, runner.iter, get_rank()))

    def after_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        """Average accumulated gradients if a checkpoint follows."""
        for hook in runner.hooks:
            if isinstance(hook, CheckpointHook) and not hook.by_epoch and (
                    hook.every_n_train_iters(runner, hook.interval,
                                             hook.save_begin)
                    or self.is_last_train_iter(runner)):
                return average_gradients(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Average accumulated gradients."""
        self._epoch_start = None
        average_gradients(runner)

    def before_val(self, runner: Runner) -> None:
        """Average accumulated gradients, as a best checkpoint may follow."""
        if runner.iter:
            average_gradients(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Save accumulated gradients and the position in the epoch."""
        checkpoint['meta'].update(describe_epoch(runner))
        if self._epoch_start is not None:
            done = checkpoint['meta']['iter'] - self._epoch_start
            checkpoint['meta']['batches_of_epoch'] = done
        gradients = _accumulated(runner)
        if gradients and 'optimizer' in checkpoint:
            counts = runner.optim_wrapper._accumulative_counts
            checkpoint['meta']['accumulative_counts'] = counts
            checkpoint['gradients'] = {
                name:
                gradient.clone()
                if is_sharded_model(runner.model) else gradient.cpu()
                for name, gradient in gradients.items()
            }

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep the state until it is known whether the run is resumed."""
        if runner._resume and has_other_epochs(runner, checkpoint):
            self._progress = ResumedProgress(runner, checkpoint)
        meta = checkpoint.get('meta', {})
        self._gradients = checkpoint.get('gradients')
        self._counts = meta.get('accumulative_counts')
        self._batches = meta.get('batches_of_epoch', 0)


def _common_seed(runner: Runner) -> int:
    """Get the seed that all processes share."""
    if runner._randomness_cfg.get('diff_rank_seed', False):
        return runner.seed - get_rank()
    return runner.seed


def _build_batch_sampler(runner: Runner, loader: DataLoader) -> BatchSampler:
    """Build a data loader's batch sampler again, with the training's seed.

    The current one may have another seed, or may have been used already.
    """
    cfg = runner._train_dataloader
    if not isinstance(cfg, dict) or not isinstance(cfg['sampler'], dict):
        loader.sampler.seed = _common_seed(runner)
        return loader.batch_sampler
    sampler = DATA_SAMPLERS.build(
        cfg['sampler'],
        default_args=dict(dataset=loader.dataset, seed=_common_seed(runner)))
    if isinstance(cfg.get('batch_sampler'), dict):
        return DATA_SAMPLERS.build(
            cfg['batch_sampler'],
            default_args=dict(
                sampler=sampler, batch_size=cfg.get('batch_size')))
    return BatchSampler(sampler, loader.batch_size, loader.drop_last)


def average_gradients(runner: Runner) -> None:
    """Average accumulated gradients over the processes.

    Any process can then save them for all. The next step averages them again,
    which changes nothing.
    """
    # FSDP has averaged them already.
    if get_world_size() > 1 and not is_sharded_model(runner.model):
        for gradient in _accumulated(runner).values():
            all_reduce(gradient, 'mean')


def _accumulated(runner: Runner) -> dict:
    wrapper = runner.optim_wrapper
    if not hasattr(wrapper, '_inner_count'):  # DeepSpeed counts itself.
        return dict()
    if not wrapper._inner_count % wrapper._accumulative_counts:
        return dict()
    return {
        name: parameter.grad
        for name, parameter in unwrap_model(runner.model).named_parameters()
        if parameter.grad is not None
    }
