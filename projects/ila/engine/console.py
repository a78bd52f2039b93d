"""Console output of a run: the main lines; the log file has all details."""
import logging
import platform
import warnings
from typing import Optional

import mmengine
import torch
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from torch import nn

import mmaction
from ..utils import unwrap_model

# Starts of messages of MMEngine and MMAction2 that only go to the log file.
_DETAILS = (
    '------',
    'Config:',
    'Hooks will be executed',
    'paramwise_options',
    'Param groups',
    'Build LearningRateDecay',
    'Exp name:',
    'Loads checkpoint by',
    'The model and loaded state dict do not match',
    'Distributed training is not used, all SyncBatchNorm',
    'The prefix is not set in metric class',
    '"FileClient" will be deprecated',
    '"HardDiskBackend" is the alias',
    # ReproducibleResumeHook restores the accumulated gradients.
    'Resumed iteration number is not divisible',
    # True for most ILA models, whose point predictors have batch norms.
    'Gradient accumulative may slightly decrease')


def _is_wanted(record: logging.LogRecord) -> bool:
    return not str(record.msg).lstrip().startswith(_DETAILS)


def hide_details(logger: Optional[MMLogger] = None) -> MMLogger:
    """Keep the details off the console, unless the level is ``'DEBUG'``.

    Args:
        logger (MMLogger, optional): Defaults to the current one.
    """
    logger = logger or MMLogger.get_current_instance()
    for handler in logger.handlers:
        if (type(handler) is logging.StreamHandler
                and handler.level > logging.DEBUG
                and _is_wanted not in handler.filters):
            handler.addFilter(_is_wanted)
    return logger


class QuietRunner(Runner):
    """A runner that keeps the details off the console from the start."""

    def build_logger(self, *args, **kwargs) -> MMLogger:
        return hide_details(super().build_logger(*args, **kwargs))


class SummaryHook(Hook):
    """Log one line each about the environment, the model and the data."""
    priority = 'VERY_HIGH'

    def before_run(self, runner: Runner) -> None:
        devices = 'CPU'
        if torch.cuda.is_available():
            devices = torch.cuda.get_device_name()
        if get_world_size() > 1:
            devices = f'{get_world_size()} x {devices}'
        # A resumed run keeps its original seed, which is not known yet.
        seed = '' if runner._resume else f', seed {runner.seed}'
        runner.logger.info(
            f'environment: {devices}, Python {platform.python_version()}, '
            f'PyTorch {torch.__version__}, MMEngine {mmengine.__version__}, '
            f'MMAction2 {mmaction.__version__}{seed}')
        model = unwrap_model(runner.model)
        count = sum(value.numel() for value in model.parameters())
        trained = sum(value.numel() for value in model.parameters()
                      if value.requires_grad)
        line = f'model: {type(model).__name__}, {count / 1e6:.1f} M parameters'
        counts = []
        for split in ('train', 'val', 'test'):
            loop = getattr(runner, f'_{split}_loop', None)
            if hasattr(loop, 'dataloader'):  # It was built.
                counts.append(f'{len(loop.dataloader.dataset)} ({split})')
                if split == 'train':
                    line += f', {trained / 1e6:.1f} M of them trained'
        runner.logger.info(line)
        runner.logger.info(f"data: {', '.join(counts)} videos")
        if runner.logger.log_file:
            runner.logger.info(f'details: {runner.logger.log_file}')

    def before_train(self, runner: Runner) -> None:
        """Log the seed of a resumed run, which is its original seed."""
        if runner._resume:
            runner.logger.info(f'seed: {runner.seed}')


def report_loading(model: nn.Module, logger: MMLogger) -> None:
    """Log how many of a model's weights each loaded checkpoint contains.

    MMEngine would list the names of all others instead.
    """

    def report(module: nn.Module, keys: object) -> None:
        missing = [
            name for name in keys.missing_keys
            if not name.endswith('num_batches_tracked')
        ]
        total = len(module.state_dict())
        logger.info(f'weights: {total - len(missing)} of {total} loaded, '
                    f'{len(missing)} missing'
                    f'{_examples(missing)}, {len(keys.unexpected_keys)} '
                    f'unexpected{_examples(keys.unexpected_keys)}')

    model.register_load_state_dict_post_hook(report)


def _examples(names: list) -> str:
    parts = list(
        dict.fromkeys('.'.join(name.split('.')[:2]) for name in names))
    return f" ({', '.join(parts[:4] + ['...'] * (len(parts) > 4))})" * bool(
        parts)


def summarize(runner: Runner) -> None:
    """Let a runner log its environment, model and data in a few lines."""
    runner.register_hook(SummaryHook())
    model = unwrap_model(runner.model)
    if isinstance(model, nn.Module):  # A sharded one is not built yet.
        report_loading(model, runner.logger)
    # With accumulated gradients, it is correct that schedules step first.
    if (runner.cfg.get('optim_wrapper') or {}).get('accumulative_counts',
                                                   1) > 1:
        warnings.filterwarnings(
            'ignore',
            message='Detected call of `scheduler.step',
            module='mmengine')
