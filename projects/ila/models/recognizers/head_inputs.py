from typing import Optional, Tuple, Union

from torch import Tensor, nn

from ..backbones import ILAFeatures


def head_inputs(features: ILAFeatures, neck: Optional[nn.Module],
                out_type: str) -> Tuple[Tensor, ...]:
    """Get the input tensors of a head for the backbone's ``out_type``.

    Returns:
        tuple[Tensor, ...]: For ``'raw'``, which ILA's heads need, video
        features ``(B, E)`` and patch features ``(B, T, L, C)``; otherwise one
        tensor, the video features or the feature map ``(B, C, T, H, W)``.
    """
    if features.featmap is not None:
        return (features.featmap, )
    video = features.frames.mean(dim=1)
    if neck is not None:
        video, _ = neck(features.frames, points=features.frame_points)
    return (video, features.patches) if out_type == 'raw' else (video, )


def as_input(feats: Tuple[Tensor, ...]) -> Union[Tensor, Tuple]:
    """Turn the result of :func:`head_inputs` into a head's argument."""
    return feats if len(feats) > 1 else feats[0]


def video_features(feats: Tuple[Tensor, ...]) -> Tensor:
    """Get video features ``(B, E)``, or the mean ``(B, C)`` of a map."""
    return feats[0] if feats[0].dim() == 2 else feats[0].mean(dim=(2, 3, 4))
