import torch


def check_device(device: str) -> None:
    """Refuse a device that cannot be used, with a ValueError."""
    try:
        torch.empty(0, device=device)
    except (AssertionError, RuntimeError) as error:
        reason = str(error).strip().split('\n')[0]
        raise ValueError(f"device '{device}' cannot be used ({reason}); take "
                         "another one, such as 'cpu'") from None
