from typing import Optional, Tuple, Union

from torch import Tensor, nn

from ..backbones import ILAFeatures


def head_inputs(features: ILAFeatures, neck: Optional[nn.Module],
                out_type: str) -> Tuple[Tensor, ...]:
    """Get the tensors that a head takes, by the backbone's ``out_type``.

    Returns:
        tuple[Tensor, ...]: For the heads of ILA, ``'raw'``, video features
        ``(B, E)`` and patch features ``(B, T, L, C)``; otherwise one tensor,
        the video features or the map ``(B, C, T, H, W)``.
    """
    if features.featmap is not None:
        return (features.featmap, )
    video = features.frames.mean(dim=1)
    if neck is not None:
        video, _ = neck(features.frames, points=features.frame_points)
    return (video, features.patches) if out_type == 'raw' else (video, )


def as_input(feats: Tuple[Tensor, ...]) -> Union[Tensor, Tuple]:
    """Turn what :func:`head_inputs` gives into a head's argument."""
    return feats if len(feats) > 1 else feats[0]


def video_features(feats: Tuple[Tensor, ...]) -> Tensor:
    """Take video features ``(B, E)``; of a map its mean, ``(B, C)``."""
    return feats[0] if feats[0].dim() == 2 else feats[0].mean(dim=(2, 3, 4))
