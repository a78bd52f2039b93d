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

    A data loader iterates over it where it loads, which may be a worker
    process, and asks the data set for one index before it takes the next. So
    each sample is loaded with random numbers of its own.
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
    """Give each sample that a batch sampler draws a seed.

    It depends on nothing but the seed of the training, the number of the pass
    through the data and the number of the draw in it. Draws are counted over
    all processes, which take turns as those of MMEngine's samplers do. So
    neither the number of processes nor that of workers matters.

    Args:
        batch_sampler (Sampler): What it takes the indices from.
        seed (int): Seed of the training, the same in all processes.
        endless (bool): Whether a new pass follows the last one, which needs
            no new workers then.

    Attributes:
        epoch (int): Number of the next pass, or of the first if it is
            endless.
        skip (int): How many batches to leave out at first, without loading
            them.
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
        # `sampler` and `batch_size`, which MMEngine looks for.
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
