"""Augmentation of batches of clips on their device."""
from typing import Union

import torch
from torch import Tensor
from torchvision import transforms

from mmaction.registry import MODELS

# The channel dimension of batches ``(N, views, C, ..., H, W)``, in which the
# frames may be another dimension.
_CHANNELS = 2


@MODELS.register_module()
class ClipTorchVision:
    """Apply a transform of torchvision to each clip of a batch.

    Random parameters are drawn once per clip, the same for all its frames.

    Args:
        op (str): Name of a transform of tensors in ``torchvision.transforms``.
        **kwargs: Arguments of the transform.
    """

    def __init__(self, op: str, **kwargs) -> None:
        transform = getattr(transforms, op, None)
        if transform is None:
            raise ValueError(f"torchvision.transforms has no '{op}'; fix `op` "
                             'in the config')
        self.transform = transform(**kwargs)

    def __call__(self, clips: Tensor) -> Tensor:
        """Augment ``(N, views, C, ..., H, W)``, uint8, RGB."""
        results = []
        for clip in clips:
            # Torchvision expects (..., C, H, W).
            frames = clip.movedim(_CHANNELS - 1, -3)
            results.append(self.transform(frames).movedim(-3, _CHANNELS - 1))
        return torch.stack(results)


@MODELS.register_module()
class ClipColorJitter:
    """Torchvision's ``ColorJitter`` for a batch of clips.

    Each clip has its own factors and order of operations. Clips that need the
    same operation next are processed together.

    Args:
        p (float): Probability that a clip is changed.
        brightness, contrast, saturation, hue (float | tuple[float, float]):
            As in torchvision.
    """

    def __init__(self,
                 p: float = 1.,
                 brightness: Union[float, tuple] = 0.,
                 contrast: Union[float, tuple] = 0.,
                 saturation: Union[float, tuple] = 0.,
                 hue: Union[float, tuple] = 0.) -> None:
        self.p = p
        self.jitter = transforms.ColorJitter(brightness, contrast, saturation,
                                             hue)

    def __call__(self, clips: Tensor) -> Tensor:
        """Augment ``(N, views, C, ..., H, W)``, uint8, RGB."""
        jitter = self.jitter
        ranges = (jitter.brightness, jitter.contrast, jitter.saturation,
                  jitter.hue)
        drawn = dict()
        for clip in range(len(clips)):
            if torch.rand(()) < self.p:
                order, *factors = jitter.get_params(*ranges)
                drawn[clip] = order.tolist(), factors
        clips = clips.clone()
        functions = (adjust_brightness, adjust_contrast, adjust_saturation,
                     adjust_hue)
        for place in range(len(functions)):
            for number, function in enumerate(functions):
                chosen = {
                    clip: factors[number]
                    for clip, (order, factors) in drawn.items()
                    if order[place] == number
                }
                if chosen and ranges[number] is not None:
                    index = _send(list(chosen), clips)
                    factor = _send(list(chosen.values()), clips)
                    factor = factor.view(-1, *[1] * (clips.dim() - 1))
                    clips[index] = function(clips[index], factor)
        return clips


def _send(values: list, like: Tensor) -> Tensor:
    # A blocking copy would wait until the device is idle.
    return torch.tensor(values).to(like.device, non_blocking=like.is_cuda)


def _blend(clips: Tensor, others: Tensor, factor: Tensor) -> Tensor:
    """Interpolate or extrapolate from others to clips, rounded down."""
    return torch.lerp(others, clips.float(), factor).clamp_(0, 255).byte()


def _to_gray(clips: Tensor) -> Tensor:
    """Convert to grey, ``(N, views, 1, ..., H, W)``, rounded down."""
    red, green, blue = clips.split(1, _CHANNELS)
    return (0.2989 * red + 0.587 * green + 0.114 * blue).floor_()


def adjust_brightness(clips: Tensor, factor: Tensor) -> Tensor:
    """Multiply by the factor."""
    return (clips * factor).clamp_(0, 255).byte()


def adjust_contrast(clips: Tensor, factor: Tensor) -> Tensor:
    """Scale the distance to the mean brightness of each frame."""
    mean = _to_gray(clips).mean((_CHANNELS, -2, -1), keepdim=True)
    return _blend(clips, mean, factor)


def adjust_saturation(clips: Tensor, factor: Tensor) -> Tensor:
    """Scale the distance to grey."""
    return _blend(clips, _to_gray(clips), factor)


def adjust_hue(clips: Tensor, factor: Tensor) -> Tensor:
    """Shift the hue by a fraction of the colour circle."""
    clips = clips.float()
    red, green, blue = clips.split(1, _CHANNELS)
    value = clips.amax(_CHANNELS, keepdim=True)
    chroma = value - clips.amin(_CHANNELS, keepdim=True)
    scale = chroma.clamp(min=1)  # Grey has no hue.
    hue = torch.where(
        value == red, (green - blue) / scale,
        torch.where(value == green, (blue - red) / scale + 2,
                    (red - green) / scale + 4))
    # HSV to RGB: value - chroma * max(0, min(k, 4 - k, 1)), where k is
    # (hue + n) mod 6 and n is 5 for red, 3 for green and 1 for blue.
    starts = 5 - 2 * torch.arange(3, device=clips.device)
    starts = starts.view(-1, *[1] * (clips.dim() - _CHANNELS - 1))
    place = (hue + 6 * factor + starts).remainder_(6)
    lack = torch.minimum(place, 4 - place).clamp_(0, 1)
    # As torchvision converts floats to 256 levels.
    return (torch.addcmul(value, chroma, lack, value=-1) *
            (255.999 / 255)).byte()
