import os.path as osp
from typing import Any, Optional

import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from mmaction.registry import HOOKS
from ...utils import is_sharded_model, replacing, unwrap_model


@HOOKS.register_module()
class InvalidLossHook(Hook):
    """Stop the training before a NaN or infinite loss spoils the weights.

    The iteration, the loss terms, the batch with its labels and files, and the
    weights are saved in ``work_dir`` first, as plain data for ``torch.load``.
    Weights of FSDP are not saved, since they would have to be gathered.
    """

    def __init__(self) -> None:
        self._handle: Optional[Any] = None
        self._batch: Optional[dict] = None

    def before_train(self, runner: Runner) -> None:
        """Watch the model's losses."""

        def check(model: nn.Module, args: tuple, kwargs: dict,
                  output: Any) -> None:
            if kwargs.get('mode') == 'loss':
                self._check(runner, model, output)

        self._handle = unwrap_model(runner.model).register_forward_hook(
            check, with_kwargs=True)

    def before_train_iter(self, runner: Runner, batch_idx: int,
                          data_batch: dict) -> None:
        """Remember the batch."""
        self._batch = data_batch

    def after_train(self, runner: Runner) -> None:
        """Stop watching."""
        self._handle.remove()

    def _check(self, runner: Runner, model: nn.Module, losses: dict) -> None:
        terms = {
            name: value.detach().float().mean()
            for name, value in losses.items() if 'loss' in name
        }
        # One transfer from the GPU for all of them.
        values = torch.stack(list(terms.values()))
        if values.isfinite().all():
            return
        terms = dict(zip(terms, values.tolist()))
        samples = self._batch['data_samples']
        files = [sample.get('filename', 'unknown') for sample in samples]
        path = osp.join(
            runner.work_dir,
            f'invalid_loss_iter_{runner.iter + 1}_rank_{get_rank()}.pth')
        with replacing(path) as partial:
            torch.save(
                dict(
                    iter=runner.iter + 1,
                    epoch=runner.epoch + 1,
                    losses=terms,
                    files=files,
                    labels=[sample.gt_label.cpu() for sample in samples],
                    inputs=self._batch['inputs'],
                    state_dict=None if is_sharded_model(model) else
                    model.state_dict()), partial)
        listed = ', '.join(f'{name} {value:g}'
                           for name, value in terms.items())
        raise RuntimeError(
            f'iteration {runner.iter + 1}: the loss is not finite ({listed}). '
            f'The batch is saved in {path}. Please look at its '
            f'videos ({", ".join(files)}), or lower the learning rate, and '
            'resume from the last checkpoint')
