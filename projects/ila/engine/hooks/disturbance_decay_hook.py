from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmaction.registry import HOOKS
from ...utils import unwrap_model


@HOOKS.register_module()
class DisturbanceDecayHook(Hook):
    """Let the disturbance of ILA's alignment masks fade out in training.

    Before each epoch it calls ``model.backbone.set_disturbance_scale`` with
    ``factor**(epoch - begin + 1)`` from epoch ``begin`` on and with 1 before.
    The scale depends on nothing but the epoch, so that it is right after a
    resume as well. For epoch-based training.

    Args:
        begin (int): First epoch, counted from 0, with a lower disturbance.
            Defaults to 30.
        factor (float): What the disturbance is multiplied with each epoch.
            Defaults to 0.5.
    """

    def __init__(self, begin: int = 30, factor: float = 0.5) -> None:
        self.begin = begin
        self.factor = factor

    def before_train_epoch(self, runner: Runner) -> None:
        """Set the scale of the coming epoch.

        Args:
            runner (Runner): The runner of the training.
        """
        epochs = max(0, runner.epoch - self.begin + 1)
        model = unwrap_model(runner.model)
        model.backbone.set_disturbance_scale(self.factor**epochs)
