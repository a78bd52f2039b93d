from functools import partial
from typing import Union

from mmengine._strategy import FSDPStrategy
from mmengine.device import get_device
from mmengine.optim import BaseOptimWrapper
from mmengine.registry import STRATEGIES
from torch import nn
from torch.distributed.fsdp import (FullOptimStateDictConfig,
                                    FullyShardedDataParallel)
from torch.distributed.fsdp.wrap import lambda_auto_wrap_policy

from ...models.images import ImageModel
from ...models.temporal import TemporalModule
from ...models.text import CLIPTextEncoder
from .utils import replacing_together


@STRATEGIES.register_module()
class ILAFSDPStrategy(FSDPStrategy):
    """Fully sharded data parallel training of ILA.

    By default one block, or what comes before it, is gathered at a time.

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
        model_wrapper = dict(model_wrapper)
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

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        parts = set()
        for module in model.modules():
            if isinstance(module, ImageModel):
                parts.update(module.blocks)
            elif isinstance(module, (TemporalModule, CLIPTextEncoder)):
                parts.add(module)
        self.model_wrapper.setdefault(
            'auto_wrap_policy',
            partial(lambda_auto_wrap_policy, lambda_fn=parts.__contains__))
        return super()._wrap_model(model)

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
        """Load the optimizer's state."""
        # MMEngine has the arguments in the order of PyTorch 2.0.
        shards = FullyShardedDataParallel.optim_state_dict_to_load(
            model=self.model,
            optim=self.optim_wrapper.optimizer,
            optim_state_dict=state_dict)
        self.optim_wrapper.load_state_dict(shards)
