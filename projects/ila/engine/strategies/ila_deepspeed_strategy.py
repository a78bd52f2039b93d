import os.path as osp
import pickle
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Callable, Iterator, Optional
from unittest import mock

import torch
from mmengine._strategy import DeepSpeedStrategy
from mmengine.dist import is_distributed, is_main_process
from mmengine.logging import MMLogger
from mmengine.optim import BaseOptimWrapper
from mmengine.registry import STRATEGIES
from mmengine.runner.checkpoint import weights_to_cpu
from torch import nn

from ...weights.torch_file import load_data
from ..console import hide_details
from .utils import replacing_together

# Classes in DeepSpeed's files, in addition to tensors and plain data.
_STATES = (('deepspeed.runtime.fp16.loss_scaler', 'LossScaler'),
           ('deepspeed.runtime.fp16.loss_scaler', 'DynamicLossScaler'),
           ('deepspeed.runtime.zero.config', 'ZeroStageEnum'),
           ('deepspeed.utils.tensor_fragment', 'fragment_address'))


@contextmanager
def _loading_data_only() -> Iterator[None]:
    """Keep DeepSpeed from running code in the files that it loads."""
    names = {
        f'{module}.{name}': getattr(import_module(module), name)
        for module, name in _STATES
    }
    # MMEngine's type for DeepSpeed's settings.
    names['mmengine.config.config.ConfigDict'] = dict

    def load(file: Any, map_location: Any = 'cpu', **kwargs) -> Any:
        try:
            return load_data(file, map_location, names)
        except pickle.UnpicklingError as error:
            # Only the reason, without PyTorch's advice to run the code.
            reason = str(error).partition('WeightsUnpickler error: ')
            reason = (reason[2] or reason[0]).split(' was not')[0]
            raise ValueError(
                f"weight file '{file}' holds more than data, and loading it "
                f'could run code ({reason}); take a checkpoint that this '
                'project wrote') from None

    with mock.patch('torch.load', load):
        yield


@STRATEGIES.register_module()
class ILADeepSpeedStrategy(DeepSpeedStrategy):
    """DeepSpeed training of ILA, with the usual config of the optimizer.

    Checkpoints are folders. Up to ZeRO stage 2, the file ``weights.pth`` in
    them is an ordinary checkpoint without the optimizer.
    """

    def build_logger(self, *args, **kwargs) -> MMLogger:
        """Build the logger, which keeps details off the console."""
        return hide_details(super().build_logger(*args, **kwargs))

    def _setup_distributed(self, *args, **kwargs) -> None:
        # On a CPU the group exists already, since MMEngine looks for GPUs.
        if not is_distributed():
            super()._setup_distributed(*args, **kwargs)

    def build_optim_wrapper(self, optim_wrapper: dict,
                            model: nn.Module) -> BaseOptimWrapper:
        """Build the optimizer wrapper, and configure DeepSpeed from it.

        DeepSpeed accumulates and clips gradients. ``model.bf16`` decides on
        mixed precision.
        """
        cfg = dict(optim_wrapper, type='DeepSpeedOptimWrapper')
        for name in ('dtype', 'loss_scale'):
            cfg.pop(name, None)
        self.config['gradient_accumulation_steps'] = cfg.pop(
            'accumulative_counts', 1)
        self.config.setdefault(
            'train_micro_batch_size_per_gpu',
            self.dispatch_kwargs['train_micro_batch_size_per_gpu'])
        # DeepSpeed's own default is to clip.
        clip_grad = dict(cfg.pop('clip_grad', None) or dict(max_norm=0.))
        self.config['gradient_clipping'] = clip_grad.pop('max_norm', None)
        if (self.config['gradient_clipping'] is None
                or clip_grad.pop('type', 'norm') != 'norm'
                or clip_grad.pop('norm_type', 2) != 2):
            raise ValueError('DeepSpeed clips the 2-norm of the gradient only;'
                             ' set `optim_wrapper.clip_grad` to '
                             'dict(max_norm=...)')
        return super().build_optim_wrapper(cfg, model)

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        # DeepSpeed views weights as bytes, so they must be contiguous.
        for parameter in model.parameters():
            parameter.data = parameter.data.clone(
                memory_format=torch.contiguous_format)
        return super()._wrap_model(model)

    def load_checkpoint(self, filename: str, **kwargs) -> dict:
        """Load the weights of a folder, without running code from it.

        Raises:
            ValueError: The folder holds more than data.
        """
        with _loading_data_only():
            return super().load_checkpoint(filename, **kwargs)

    def resume(self,
               filename: str,
               callback: Optional[Callable] = None,
               **kwargs) -> dict:
        """Resume from a folder; ``callback`` gets the loaded checkpoint."""
        with _loading_data_only():
            checkpoint = super().resume(filename, **kwargs)
        if callback is not None:
            callback(checkpoint)
        return checkpoint

    def save_checkpoint(self, filename: str, **kwargs) -> None:
        """Save a checkpoint atomically."""
        with replacing_together(filename) as partial:
            super().save_checkpoint(partial, **kwargs)
            if (is_main_process() and osp.isdir(partial)
                    and not self.model.zero_optimization_partition_weights()):
                weights = weights_to_cpu(self.model.module_state_dict())
                torch.save(
                    dict(state_dict=weights, meta=dict(seed=self.seed)),
                    osp.join(partial, 'weights.pth'))
