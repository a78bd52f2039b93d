from typing import Dict

from mmengine.hooks import EMAHook
from mmengine.runner import Runner
from torch import nn

from mmaction.registry import HOOKS, MODELS
from ...utils import is_sharded_model


@HOOKS.register_module()
class ShardedEMAHook(EMAHook):
    """``EMAHook`` for a model that ``ILAFSDPStrategy`` shards.

    The average is sharded like the model. The tools use this hook in place of
    MMEngine's ``EMAHook``; it has the same arguments.
    """

    def before_run(self, runner: Runner) -> None:
        """Create the average, unless loading a checkpoint already did."""
        if not hasattr(self, 'ema_model'):
            self.src_model = runner.model
            # FSDP's modules cannot be copied.
            self.ema_model = MODELS.build(
                dict(self.ema_cfg, model=_copy_tensors(runner.model, {})))

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Resume the average."""
        # `FlexibleRunner` loads before it calls `before_run`.
        self.before_run(runner)
        super().after_load_checkpoint(runner, checkpoint)

    def _swap_ema_parameters(self) -> None:
        # After a validation, no backward pass has resharded the weights.
        for module in self.src_model.modules():
            if is_sharded_model(module):
                module.reshard()
        super()._swap_ema_parameters()


def _copy_tensors(module: nn.Module, made: Dict[int, nn.Module]) -> nn.Module:
    """Copy the parameters and buffers of a module, with their names.

    Args:
        module (nn.Module): The module to copy from.
        made (dict[int, nn.Module]): Copies of shared modules.
    """
    if id(module) in made:
        return made[id(module)]
    copy = made[id(module)] = nn.Module()
    for name, parameter in module.named_parameters(recurse=False):
        copy.register_parameter(
            name, nn.Parameter(parameter.detach().clone(), False))
    for name, buffer in module.named_buffers(recurse=False):
        copy.register_buffer(name, buffer.clone(), name
                             not in module._non_persistent_buffers_set)
    for name, child in module.named_children():
        copy.add_module(name, _copy_tensors(child, made))
    return copy
