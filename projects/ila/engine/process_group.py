"""The end of a distributed run."""
import gc

import torch


def leave_process_group() -> None:
    """End a distributed run while Python is still there to do so.

    Gloo's threads may hold the last tensors for a while. One that releases
    them when the interpreter is already going aborts the process.
    """
    if not torch.distributed.is_initialized():
        return
    gc.collect()  # The runner is a cycle, and its model holds the group.
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
