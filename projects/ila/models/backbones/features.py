from typing import NamedTuple, Optional

from torch import Tensor


class ILAFeatures(NamedTuple):
    """Features of ``B`` videos of ``T`` frames.

    Attributes:
        frames (Tensor): Features of the frames, ``(B, T, E)``.
        patches (Tensor): Patch tokens of the last block, ``(B, T, L, C)``.
        points (Tensor, optional): Interactive points,
            ``(layers, B, T - 1, 2, 2)``: per pair the earlier and the later
            frame, each x and y in grid units. The layers are the blocks in
            the backbone's ``temporal_layers``, in this order.
        frame_points (Tensor, optional): Those of each frame, the mean over
            its pairs, layer by layer: ``(B, T, layers * K, 2)``.
        align_loss (Tensor, optional): Alignment losses, ``(layers,)``.
    """
    frames: Tensor
    patches: Tensor
    points: Optional[Tensor]
    frame_points: Optional[Tensor]
    align_loss: Optional[Tensor]
