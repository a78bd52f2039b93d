from math import floor

from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner

from mmaction.registry import HOOKS
from ...utils import unwrap_model


@HOOKS.register_module()
class DisturbanceDecayHook(Hook):
    """Let the disturbance of ILA's alignment masks fade out in training.

    The scale of ``model.backbone.set_disturbance_scale`` is 1 until the
    fraction ``begin`` of the training is done. It is then ``factor``, and is
    multiplied by ``factor`` again after each further ``interval``. With the
    defaults and 50 epochs, it is halved in every epoch from the 31st on.

    Args:
        begin (float): Fraction of the training, in [0, 1].
        interval (float): Fraction of the training, in (0, 1].
        factor (float): Factor of the disturbance.

    Raises:
        ValueError: ``begin`` or ``interval`` is not a fraction.
    """

    def __init__(self,
                 begin: float = 0.6,
                 interval: float = 0.02,
                 factor: float = 0.5) -> None:
        if not 0 <= begin <= 1 or not 0 < interval <= 1:
            raise ValueError(
                f'DisturbanceDecayHook(begin={begin}, interval={interval}) '
                'counts in fractions of the training, not in epochs; write '
                'begin=0.6 for epoch 30 of 50 in `custom_hooks`')
        self.begin = begin
        self.interval = interval
        self.factor = factor

    def before_train_epoch(self, runner: Runner) -> None:
        """Set the scale of the coming epoch."""
        if not isinstance(runner.train_loop, IterBasedTrainLoop):
            self._set_scale(runner, runner.epoch / runner.max_epochs)

    def before_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        """Set the scale of the coming iteration."""
        if isinstance(runner.train_loop, IterBasedTrainLoop):
            self._set_scale(runner, runner.iter / runner.max_iters)

    def _set_scale(self, runner: Runner, progress: float) -> None:
        # Rounding may make the quotient slightly too small.
        steps = floor((progress - self.begin) / self.interval + 1e-6) + 1
        unwrap_model(runner.model).backbone.set_disturbance_scale(
            self.factor**max(0, steps))
