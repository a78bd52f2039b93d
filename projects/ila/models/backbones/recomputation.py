from contextlib import contextmanager, nullcontext
from typing import Callable, Iterator

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


@contextmanager
def keep_statistics(module: nn.Module) -> Iterator[None]:
    """Keep batch normalisations from updating their running statistics."""
    norms = [norm for norm in module.modules() if isinstance(norm, _BatchNorm)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0., None
    try:
        yield
    finally:
        for norm, values in zip(norms, before):
            norm.momentum, norm.num_batches_tracked = values


def recompute(layer: Callable, owner: nn.Module, *arguments) -> tuple:
    """Run a layer with activation checkpointing.

    The running statistics of ``owner`` are updated in the forward pass only.
    """
    if torch.compiler.is_compiling():  # The compiler handles the statistics.
        return checkpoint(layer, *arguments, use_reentrant=False)
    return checkpoint(
        layer,
        *arguments,
        use_reentrant=False,
        context_fn=lambda: (nullcontext(), keep_statistics(owner)))
