"""Measure how well the points follow motion in EgoGestAR's clips."""
import torch
from gesture_data import find_motion
from mmengine.config import Config
from torch import Tensor


def locate_motion(cfg: Config, frames: Tensor) -> Tensor:
    """Find where frames differ from their clip's median.

    Args:
        cfg (Config): Config of the model, with its normalisation.
        frames (Tensor): uint8, ``(B, 3, T, H, W)``.

    Returns:
        Tensor: Mean x and y of the squared difference, ``(B, T, 2)``, from -1
        to 1.
    """
    energy = find_motion(cfg, frames).square()
    share = energy / energy.sum((-2, -1), keepdim=True)
    places = torch.linspace(-1, 1, share.shape[-1], device=share.device)
    return torch.stack([(share.sum(side) * places).sum(-1)
                        for side in (-2, -1)],
                       dim=-1)


def correlate(points: Tensor, motion: Tensor) -> float:
    """Correlate paths, after subtracting their means over the frames.

    Args:
        points (Tensor): The points of all pairs, ``(layers, B, T - 1, ...)``:
            x and y of points in the earlier frame, then in the later frame.
        motion (Tensor): From :func:`locate_motion`.
    """
    earlier = points.unflatten(-1, (2, -1, 2))[..., 0, :, :].mean((0, -2))
    own, other = (
        path - path.mean(1, keepdim=True)
        for path in (earlier, motion[:, :-1].to(earlier)))
    norm = own.square().sum() * other.square().sum()
    return (torch.sum(own * other) / norm.sqrt()).item()
