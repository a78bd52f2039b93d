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

# What DeepSpeed keeps in its files beside tensors and plain data.
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
    # DeepSpeed's settings, in MMEngine's type for them.
    names['mmengine.config.config.ConfigDict'] = dict

    def load(file: Any, map_location: Any = 'cpu', **kwargs) -> Any:
        try:
            return load_data(file, map_location, names)
        except pickle.UnpicklingError as error:
            # Of PyTorch's advice, which is to run the code, only the reason.
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
    """DeepSpeed training of ILA, with the optimizer wrapper of any other.

    Checkpoints are folders. Up to ZeRO's stage 2 the file ``weights.pth`` in
    them is what any other training writes, without the optimizer.
    """

    def build_logger(self, *args, **kwargs) -> MMLogger:
        """Build the logger, which keeps details off the console."""
        return hide_details(super().build_logger(*args, **kwargs))

    def _setup_distributed(self, *args, **kwargs) -> None:
        # On a CPU the processes have met before: MMEngine looks for GPUs.
        if not is_distributed():
            super()._setup_distributed(*args, **kwargs)

    def build_optim_wrapper(self, optim_wrapper: dict,
                            model: nn.Module) -> BaseOptimWrapper:
        """Build the optimizer wrapper, and set DeepSpeed up for its config.

        Accumulation and clipping become DeepSpeed's. Mixed precision is that
        of ``model.bf16``.
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
        # DeepSpeed views weights as bytes, which needs the strides of new ones.
        for parameter in model.parameters():
            parameter.data = parameter.data.clone(
                memory_format=torch.contiguous_format)
        return super()._wrap_model(model)

    def load_checkpoint(self, filename: str, **kwargs) -> dict:
        """Load the weights of a folder, and no code.

        Raises:
            ValueError: It holds more than data.
        """
        with _loading_data_only():
            return super().load_checkpoint(filename, **kwargs)

    def resume(self,
               filename: str,
               callback: Optional[Callable] = None,
               **kwargs) -> dict:
        """Resume a folder; ``callback`` gets what was saved with it."""
        with _loading_data_only():
            checkpoint = super().resume(filename, **kwargs)
        if callback is not None:
            callback(checkpoint)
        return checkpoint

    def save_checkpoint(self, filename: str, **kwargs) -> None:
        """Save a checkpoint, which appears as a whole."""
        with replacing_together(filename) as partial:
            super().save_checkpoint(partial, **kwargs)
            if (is_main_process() and osp.isdir(partial)
                    and not self.model.zero_optimization_partition_weights()):
                weights = weights_to_cpu(self.model.module_state_dict())
                torch.save(
                    dict(state_dict=weights, meta=dict(seed=self.seed)),
                    osp.join(partial, 'weights.pth'))
