import os
from functools import lru_cache
from importlib.util import find_spec
from typing import Tuple

import torch
from torch import Tensor

HAS_TRITON = find_spec('triton') is not None
INTERPRETED = os.environ.get('TRITON_INTERPRET') == '1'  # On a CPU.
DTYPES = torch.float32, torch.float16, torch.bfloat16
_get_capability = lru_cache(torch.cuda.get_device_capability)


def _is_suitable(index: int) -> bool:
    """Whether a GPU is the current device, where Triton launches kernels, and
    is NVIDIA Ampere or newer."""
    return (index == torch.cuda.current_device()
            and _get_capability(index) >= (8, 0))


# Importing torch._dynamo takes two seconds.
if torch.cuda.is_available():
    _is_suitable = torch.compiler.assume_constant_result(_is_suitable)


def has_kernels(x: Tensor) -> bool:
    """Whether Triton kernels can compute with a tensor."""
    return (HAS_TRITON
            and (INTERPRETED or x.is_cuda and _is_suitable(x.device.index))
            and x.dtype in DTYPES and not torch.jit.is_tracing())


def compute_dtype(patches: Tensor) -> torch.dtype:
    """Get the data type of a convolution, with or without autocast."""
    kind = patches.device.type
    if torch.is_autocast_enabled(kind):
        return torch.get_autocast_dtype(kind)
    return patches.dtype


def as_frames(patches: Tensor) -> Tuple[Tensor, int, int]:
    """Get patches, and the strides of a frame and of a patch.

    Views of tokens are used directly; other layouts are copied.
    """
    frame, patch = patches.stride(1), patches.stride(3)
    if patches.stride() != (patches.shape[1] * frame, frame,
                            patches.shape[3] * patch, patch, 1):
        patches = patches.contiguous()
        frame, patch = patches.stride(1), patches.stride(3)
    return patches, frame, patch


def blocks(size: int, block: int) -> int:
    return (size + block - 1) // block


def power_of_two(size: int) -> int:
    return 1 << (size - 1).bit_length()
