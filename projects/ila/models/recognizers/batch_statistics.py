from contextlib import contextmanager
from typing import Iterator

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def use_batch_statistics(model: nn.Module) -> Iterator[None]:
    """Switch only the batch normalisations to training mode."""
    norms = [norm for norm in model.modules() if isinstance(norm, _BatchNorm)]
    if not norms:
        raise ValueError(
            'the model has no batch normalisation, or it was folded into the '
            'convolutions; remove `model.test_cfg.batch_statistics`')
    for norm in norms:
        norm.train()
    try:
        yield
    finally:
        for norm in norms:
            norm.eval()
