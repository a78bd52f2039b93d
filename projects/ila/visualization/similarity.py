from contextlib import ExitStack, contextmanager
from typing import Iterator, List

import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from ..models.alignment import pair_masks


@contextmanager
def record_similarities(backbone: nn.Module) -> Iterator[List[Tensor]]:
    """Record how similar the aligned features of a pair's frames are.

    Yields:
        list[Tensor]: Gets a tensor ``(B, T - 1)`` from each block that runs
        within the context and aligns: per pair the cosine of its patch
        features, each frame's averaged with the weights of its mask. The
        alignment loss (paper, section 3.3) is 1 less their mean.
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
