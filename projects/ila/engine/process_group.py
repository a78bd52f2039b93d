"""The end of a distributed run."""
import gc

import torch


def leave_process_group() -> None:
    """End a distributed run before the interpreter shuts down.

    Gloo's threads may hold the last tensors for a while. A thread that
    releases them during the shutdown aborts the process.
    """
    if not torch.distributed.is_initialized():
        return
    gc.collect()  # The runner is in a cycle, and its model holds the group.
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
