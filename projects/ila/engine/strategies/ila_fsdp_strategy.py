from typing import Union

from mmengine._strategy import FSDPStrategy
from mmengine.device import get_device
from mmengine.optim import BaseOptimWrapper
from mmengine.registry import FUNCTIONS, STRATEGIES
from torch import nn
from torch.distributed.fsdp import (FullOptimStateDictConfig,
                                    FullyShardedDataParallel)

from ...models.images import BLOCKS
from ...models.temporal import TemporalModule
from ...models.text import CLIPTextEncoder
from .utils import replacing_together


@FUNCTIONS.register_module()
def ila_auto_wrap_policy(module: nn.Module, recurse: bool,
                         nonwrapped_numel: int) -> bool:
    """Let FSDP gather one block, or what comes before it, at a time."""
    return recurse or isinstance(module,
                                 (*BLOCKS, TemporalModule, CLIPTextEncoder))


@STRATEGIES.register_module()
class ILAFSDPStrategy(FSDPStrategy):
    """Fully sharded data parallel training of ILA.

    Checkpoints are files as any other training writes them, unless
    ``state_dict_cfg`` says otherwise.

    Args:
        model_wrapper (dict): Arguments of ``MMFullyShardedDataParallel``.
        state_dict_cfg (str | dict): See ``FSDPStrategy``.
    """

    def __init__(self,
                 model_wrapper: dict = dict(),
                 state_dict_cfg: Union[str, dict] = 'full',
                 **kwargs) -> None:
        model_wrapper = {
            'auto_wrap_policy': 'ila_auto_wrap_policy',
            **model_wrapper
        }
        if get_device() == 'cpu':
            model_wrapper['device_id'] = 'cpu'
        super().__init__(
            model_wrapper=model_wrapper,
            state_dict_cfg=state_dict_cfg,
            **kwargs)
        if get_device() == 'cpu' and self._is_full_state_dict():
            # Offloaded to where they are, PyTorch would not copy the states
            # out of the one buffer that it gathers them in.
            self.optim_state_dict_config = FullOptimStateDictConfig(
                rank0_only=True, offload_to_cpu=False)

    def build_optim_wrapper(self, optim_wrapper: dict,
                            *args) -> BaseOptimWrapper:
        """Build the optimizer wrapper; a ValueError if it clips gradients."""
        if isinstance(optim_wrapper, dict) and optim_wrapper.get('clip_grad'):
            # MMEngine would clip each shard by a norm of its own.
            raise ValueError('`optim_wrapper.clip_grad` does not work with '
                             'FSDP; leave it out, or use DeepSpeed')
        return super().build_optim_wrapper(optim_wrapper, *args)

    def save_checkpoint(self, filename: str, **kwargs) -> None:
        """Save a checkpoint, which appears as a whole."""
        with replacing_together(filename) as partial:
            super().save_checkpoint(partial, **kwargs)

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Load the state; MMEngine has the arguments in PyTorch 2.0's order."""
        shards = FullyShardedDataParallel.optim_state_dict_to_load(
            model=self.model,
            optim=self.optim_wrapper.optimizer,
            optim_state_dict=state_dict)
        self.optim_wrapper.load_state_dict(shards)
