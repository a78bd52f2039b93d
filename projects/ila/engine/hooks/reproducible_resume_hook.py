from typing import Optional

from mmengine.dist import all_reduce, get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner, set_random_seed

from mmaction.registry import HOOKS
from ...utils import mix_seed, unwrap_model


@HOOKS.register_module()
class ReproducibleResumeHook(Hook):
    """Let a resumed training go on as if it had not been interrupted.

    MMEngine resumes weights, optimizer, schedulers and averages. What is drawn
    at random, and gradients that are still accumulated, it does not. With
    this hook an iteration's random numbers depend on nothing but the seed, the
    iteration and the process; those of a sample of ``ILAVideoDataset`` on
    nothing but the seed, the epoch and the sample, so that neither the number
    of workers nor that of processes matters. Gradients that an epoch leaves
    accumulated are saved.

    It is for epoch-based training, which resumes at the start of an epoch.
    FSDP and DeepSpeed lose what is accumulated.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._gradients: Optional[dict] = None

    def before_train(self, runner: Runner) -> None:
        """Take over the seed and the gradients of a resumed run.

        Args:
            runner (Runner): The runner of the training.
        """
        # Built before the checkpoint was read, it may have a seed of its own.
        runner.train_dataloader.sampler.seed = runner.seed
        if runner.iter and self._gradients:
            for name, parameter in unwrap_model(
                    runner.model).named_parameters():
                if name in self._gradients:
                    parameter.grad = self._gradients[name].to(parameter)
        self._gradients = None

    def before_train_epoch(self, runner: Runner) -> None:
        """Tell the data set which epoch comes."""
        dataset = runner.train_dataloader.dataset
        if hasattr(dataset, 'set_random_state'):
            dataset.set_random_state(runner.seed, runner.epoch)

    def before_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        """Seed the iteration."""
        set_random_seed(mix_seed(runner.seed, runner.iter, get_rank()))

    def after_train_epoch(self, runner: Runner) -> None:
        """Average accumulated gradients over the processes.

        The next step averages them again, which changes nothing then; but
        any process can save them for all.
        """
        if get_world_size() > 1:
            for gradient in _accumulated(runner).values():
                all_reduce(gradient, 'mean')

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Save accumulated gradients."""
        gradients = _accumulated(runner)
        if gradients and 'optimizer' in checkpoint:
            checkpoint['gradients'] = {
                name: gradient.cpu()
                for name, gradient in gradients.items()
            }

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep gradients until it is known whether the run is resumed."""
        self._gradients = checkpoint.get('gradients')


def _accumulated(runner: Runner) -> dict:
    wrapper = runner.optim_wrapper
    if hasattr(runner, 'strategy'):  # Its gradients are shards.
        return dict()
    if not wrapper._inner_count % wrapper._accumulative_counts:
        return dict()
    return {
        name: parameter.grad
        for name, parameter in unwrap_model(runner.model).named_parameters()
        if parameter.grad is not None
    }
