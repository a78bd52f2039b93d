from .seeded_batch_sampler import SeededBatch, SeededBatchSampler

__all__ = ['SeededBatch', 'SeededBatchSampler']
