from typing import Optional

import torch
from mmengine.device import get_device


def check_device(device: str) -> None:
    """Raise a ValueError if a device cannot be used."""
    try:
        torch.empty(0, device=device)
    except (AssertionError, RuntimeError) as error:
        reason = str(error).strip().split('\n')[0]
        raise ValueError(f"device '{device}' cannot be used ({reason}); take "
                         "another one, such as 'cpu'") from None


def find_device(device: Optional[str]) -> str:
    """Find a device: for ``'auto'`` or None, a GPU if available."""
    return get_device() if device in (None, 'auto') else device
