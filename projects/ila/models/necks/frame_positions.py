"""Interpolation of the position embeddings of frames."""
import torch.nn.functional as F
from torch import Tensor, nn


def resize_positions(pos_embed: Tensor, num_frames: int) -> Tensor:
    """Interpolate ``(1, T, E)`` position embeddings to ``num_frames``."""
    if pos_embed.shape[1] == num_frames:
        return pos_embed
    return F.interpolate(
        pos_embed.transpose(1, 2), size=num_frames,
        mode='linear').transpose(1, 2)


def resize_loaded_positions(module: nn.Module, state_dict: dict, prefix: str,
                            *args) -> None:
    """Interpolate ``pos_embed`` to the module's number of frames, as a hook
    before weights are loaded."""
    name = f'{prefix}pos_embed'
    if name in state_dict:
        state_dict[name] = resize_positions(state_dict[name],
                                            module.pos_embed.shape[1])
