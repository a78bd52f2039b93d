import os.path as osp
import time
import warnings
from typing import Any, Callable, List, Optional, Union

import mmengine
import torch
from mmengine._strategy import DDPStrategy
from mmengine.device import get_device
from mmengine.dist import get_world_size, is_distributed
from mmengine.logging import MMLogger
from mmengine.optim import AmpOptimWrapper, BaseOptimWrapper
from mmengine.registry import STRATEGIES
from torch import nn
from torch.distributed.checkpoint.state_dict import (get_optimizer_state_dict,
                                                     set_optimizer_state_dict)
from torch.distributed.device_mesh import init_device_mesh

from ...models.images import ImageModel
from ...models.temporal import TemporalModule
from ...models.text import CLIPTextEncoder
from ...weights import is_text_feature
from ..console import hide_details
from ..sharded_checkpoint import load_sharded, save_sharded
from .utils import replacing_together

try:
    from torch.distributed.fsdp import fully_shard
except ImportError:  # Before PyTorch 2.6.
    fully_shard = None


@STRATEGIES.register_module()
class ILAFSDPStrategy(DDPStrategy):
    """Fully sharded data parallel training of ILA, with PyTorch's FSDP2.

    Weights are gathered for one block or temporal module, or for the remaining
    parts, at a time. ``model.compile`` compiles each block and module
    separately.

    Checkpoints are folders, which any number of processes can resume. The
    file ``weights.pth`` in them is an ordinary checkpoint without the
    optimizer.

    Args:
        reshard_after_forward (bool): Whether to free gathered weights after
            the forward pass and gather them again for the backward pass,
            which takes less memory and more time.
        sync_bn (str, optional): See ``DDPStrategy``.

    Raises:
        ImportError: PyTorch is older than 2.6.
    """

    def __init__(self,
                 *,
                 reshard_after_forward: bool = True,
                 sync_bn: Optional[str] = None,
                 **kwargs) -> None:
        if fully_shard is None:
            raise ImportError(
                'ILAFSDPStrategy needs PyTorch 2.6 or newer, this is '
                f'{torch.__version__}; install a newer one, or take '
                '`_base_/strategies/deepspeed.py`')
        super().__init__(model_wrapper=None, sync_bn=sync_bn, **kwargs)
        self.reshard_after_forward = reshard_after_forward
        self._compile: Union[bool, str, dict] = False
        self._scalars: List[str] = []

    def build_logger(self, *args, **kwargs) -> MMLogger:
        """Build the logger, which keeps details off the console."""
        return hide_details(super().build_logger(*args, **kwargs))

    def build_model(self, model: Union[nn.Module, dict]) -> nn.Module:
        """Build the model; its parts are compiled when they are sharded."""
        if isinstance(model, dict):
            model = dict(model)
            self._compile = model.pop('compile', False)
        return super().build_model(model)

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        if not is_distributed():
            raise ValueError(
                '`strategy` shards a model over processes that a launcher '
                'starts; use tools/dist_train.sh, for a single one too')
        model = self.convert_model(model.to(get_device()))
        self._scalars = _make_shardable(model)
        mesh = init_device_mesh(get_device(), (get_world_size(), ))
        parts = []
        for module in model.modules():
            if isinstance(module, ImageModel):
                parts += module.blocks
            elif isinstance(module, (TemporalModule, CLIPTextEncoder)):
                parts.append(module)
        for part in parts:
            if self._is_compiled(part):
                # Leave out the module's hooks, which gather its weights.
                options = self._compile
                options = options if isinstance(options, dict) else {}
                part.forward = torch.compile(part.forward, **{
                    'fullgraph': True,
                    **options
                })
            fully_shard(
                part,
                mesh=mesh,
                reshard_after_forward=self.reshard_after_forward)
        # Nothing changes their outputs in place.
        warnings.filterwarnings('ignore', message='FSDP2-wrapped module')
        fully_shard(model, mesh=mesh)
        return model

    def _is_compiled(self, part: nn.Module) -> bool:
        if self._compile == 'temporal':
            return isinstance(part, TemporalModule)
        return bool(self._compile) and not isinstance(part, CLIPTextEncoder)

    def build_optim_wrapper(self, optim_wrapper: Union[dict, BaseOptimWrapper],
                            *args) -> BaseOptimWrapper:
        """Build the optimizer wrapper. Loss scaling raises a ValueError."""
        wrapper = super().build_optim_wrapper(optim_wrapper, *args)
        if isinstance(wrapper, AmpOptimWrapper):
            raise ValueError(
                'a sharded training has no loss scaling; set '
                "`optim_wrapper.dtype='float32'`, and `model.bf16=True` for "
                'mixed precision')
        return wrapper

    def optim_state_dict(self) -> dict:
        """Get the optimizer's state by parameter names."""
        return get_optimizer_state_dict(self.model,
                                        self.optim_wrapper.optimizer)

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Load the optimizer's state."""
        set_optimizer_state_dict(self.model, self.optim_wrapper.optimizer,
                                 state_dict)

    def save_checkpoint(self,
                        filename: str,
                        *,
                        save_optimizer: bool = True,
                        save_param_scheduler: bool = True,
                        extra_ckpt: Optional[dict] = None,
                        callback: Optional[Callable] = None) -> None:
        """Save a folder atomically; see ``DDPStrategy``."""
        # MMEngine would move everything to the CPU.
        state = dict(state_dict=self.model.state_dict())
        if save_optimizer and hasattr(self, 'optim_wrapper'):
            state['optimizer'] = self.optim_state_dict()
        if save_param_scheduler and hasattr(self, 'param_schedulers'):
            state['param_schedulers'] = self.scheduler_state_dict()
        state.update(extra_ckpt or dict())
        state.setdefault('meta', dict()).update(
            seed=self.seed,
            time=time.strftime('%Y%m%d_%H%M%S'),
            mmengine=mmengine.__version__)
        if callback is not None:
            callback(state)
        with replacing_together(filename) as partial:
            save_sharded(partial, state, self._scalars)

    def load_checkpoint(self,
                        filename: str,
                        *,
                        callback: Optional[Callable] = None,
                        **kwargs: Any) -> dict:
        """Load a folder that was saved by any number of processes.

        Raises:
            ValueError: The folder is not such a checkpoint, is damaged, or
                is of another model.
        """
        self.logger.info(f'Load checkpoint from {filename}')
        own = self.model.state_dict()
        checkpoint = load_sharded(filename, own)
        if callback is not None:
            callback(checkpoint)
        weights = checkpoint.pop('state_dict')
        shapes, saved = ({
            name: value.shape
            for name, value in part.items()
        } for part in (own, weights))
        for name in {**shapes, **saved}:
            if is_text_feature(name) and name not in own:
                continue
            if shapes.get(name) != saved.get(name):
                raise ValueError(
                    f"'{osp.abspath(filename)}' is of another model, whose "
                    f"'{name}' differs; fix `model`, or begin another run")
        for name, value in own.items():
            with torch.no_grad():
                value.copy_(weights[name])
        return checkpoint


def _make_shardable(model: nn.Module) -> List[str]:
    """Give parameters the strides and dimensions that FSDP requires.

    Returns:
        list[str]: The names of scalars, which now have one dimension.
    """
    scalars = []
    for name, parameter in list(model.named_parameters()):
        parameter.data = parameter.data.contiguous()
        if not parameter.dim():
            scalars.append(name)
            owner, _, key = name.rpartition('.')
            model.get_submodule(owner).register_parameter(
                key, nn.Parameter(parameter.data[None],
                                  parameter.requires_grad))
    return scalars
