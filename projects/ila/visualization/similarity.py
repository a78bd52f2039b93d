from contextlib import ExitStack, contextmanager
from typing import Iterator, List

import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from ..models.alignment import pair_masks


@contextmanager
def record_similarities(backbone: nn.Module) -> Iterator[List[Tensor]]:
    """Record the similarity of the aligned features of each pair of frames.

    Yields:
        list[Tensor]: Each block with alignment adds a tensor ``(B, T - 1)``
        when it runs within the context. For each pair it is the cosine
        between both frames' patch features, averaged with the weights of the
        masks. The alignment loss (paper, section 3.3) is 1 minus its mean.
    """
    similarities = []

    def record(alignment: nn.Module, inputs: tuple, outputs: tuple) -> None:
        patches, points = inputs[0].float(), outputs[1].float()
        masks = pair_masks(points, patches.shape[2:4], alignment.radius,
                           alignment.slope)
        earlier, later = alignment.pool(patches, masks).unbind(2)
        similarities.append(
            F.cosine_similarity(earlier, later, dim=-1).detach())

    with ExitStack() as stack:
        for alignment in backbone.alignments:
            stack.enter_context(alignment.register_forward_hook(record))
        yield similarities
