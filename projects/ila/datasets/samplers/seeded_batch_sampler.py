import random
from itertools import count
from typing import Any, Iterator, List

import numpy as np
import torch
from mmengine.dist import get_dist_info
from torch.utils.data import Sampler

from ...utils import mix_seed


class SeededBatch:
    """The indices of a batch, with a seed for each.

    A data loader iterates over it in the process that loads samples, which may
    be a worker, and loads each sample before it asks for the next index. So
    each sample is loaded with its own random numbers.
    """

    def __init__(self, indices: List[int], seeds: List[int]) -> None:
        self.indices = indices
        self.seeds = seeds

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        for index, seed in zip(self.indices, self.seeds):
            random.seed(seed)
            np.random.seed(seed)
            torch.manual_seed(seed)
            yield index


class SeededBatchSampler(Sampler):
    """Give a seed to each sample that a batch sampler draws.

    The seed depends only on the seed of the training, the number of the pass
    through the data and the number of the draw in this pass. Draws are counted
    over all processes, which alternate as in MMEngine's samplers. So the
    numbers of processes and of workers do not matter.

    Args:
        batch_sampler (Sampler): Sampler that draws the indices.
        seed (int): Seed of the training, the same in all processes.
        endless (bool): Whether a new pass follows each pass, with the same
            workers.

    Attributes:
        epoch (int): Number of the next pass, or of the first if it is
            endless.
        skip (int): Number of batches to skip at first, without loading them.
    """

    def __init__(self,
                 batch_sampler: Sampler,
                 seed: int,
                 endless: bool = False) -> None:
        self.batch_sampler = batch_sampler
        self.seed = seed
        self.endless = endless
        self.epoch = 0
        self.skip = 0

    def __getattr__(self, name: str) -> Any:
        # MMEngine reads `sampler` and `batch_size`.
        if name == 'batch_sampler':
            raise AttributeError(name)
        return getattr(self.batch_sampler, name)

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[SeededBatch]:
        rank, world_size = get_dist_info()
        skip, self.skip = self.skip, 0
        for epoch in count(self.epoch):
            sampler = getattr(self.batch_sampler, 'sampler', None)
            if hasattr(sampler, 'set_epoch'):
                sampler.set_epoch(epoch)
            draw = rank
            for batch in self.batch_sampler:
                draws = range(draw, draw + len(batch) * world_size, world_size)
                draw = draws.stop
                if skip:
                    skip -= 1
                    continue
                yield SeededBatch(
                    batch,
                    [mix_seed(self.seed, epoch, draw) for draw in draws])
            if not self.endless:
                return
            if draw == rank:
                raise ValueError(
                    'the training data make no batch; add videos, or choose a '
                    'smaller `train_dataloader.batch_size`')
