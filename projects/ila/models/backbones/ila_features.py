from typing import Any, NamedTuple, Optional, Union

from torch import Tensor


class EncodedFrames(NamedTuple):
    """Frames, encoded by the blocks before the first temporal module.

    Attributes:
        num_blocks (int): Number of these blocks.
        tokens (Tensor): ``(N, L, C)``.
        positions (Any): Positions that the image model's ``embed`` returns
            for the blocks, the same for all frames.
    """
    num_blocks: int
    tokens: Tensor
    positions: Any


class ILAFeatures(NamedTuple):
    """Features of ``B`` videos of ``T`` frames.

    Attributes:
        frames (Tensor): Features of the frames, ``(B, T, E)``.
        patches (Tensor): Patch tokens of the last block, ``(B, T, L, C)``.
        points (Tensor, optional): Interactive points,
            ``(layers, B, T - 1, 2, 2)``: for each pair the earlier and the
            later frame, then x and y in grid units. With ``K`` points per
            frame, ``(layers, B, T - 1, 2, K, 2)``. Layers are in the order of
            the backbone's ``temporal_layers``.
        frame_points (Tensor, optional): Points of each frame, averaged over
            its pairs, layer by layer: ``(B, T, layers * K, 2)``.
        align_loss (Tensor, optional): Alignment losses, ``(layers,)``.
        featmap (Tensor, optional): Normalised patch tokens,
            ``(B, C, T, H, W)``, with ``out_type='featmap'`` only.
    """
    frames: Tensor
    patches: Tensor
    points: Optional[Tensor] = None
    frame_points: Optional[Tensor] = None
    align_loss: Optional[Tensor] = None
    featmap: Optional[Tensor] = None

    @property
    def output(self) -> Tensor:
        """Tensor: Input of MMAction2's heads: ``featmap``, or the mean of the
        frames, ``(B, E)``."""
        return self.frames.mean(dim=1) if self.featmap is None \
            else self.featmap

    @classmethod
    def __torch_function__(cls, *args: Any) -> None:
        """Raise an error if used as a tensor, as by a head without a neck."""
        raise ValueError(
            'with an alignment loss to pass on, `ILABackbone` gives '
            "`ILAFeatures` instead of a tensor; set `model.neck` to dict(type="
            "'AlignmentLossNeck'), or `model.type` to 'ILARecognizer'")


Outputs = Union[Tensor, ILAFeatures]
