from typing import Any, NamedTuple, Optional, Union

from torch import Tensor


class EncodedFrames(NamedTuple):
    """Frames after the blocks before the first temporal module.

    Attributes:
        num_blocks (int): Number of these blocks.
        tokens (Tensor): ``(N, L, C)``.
        positions (Any): What the blocks take of the image model's ``embed``,
            the same for all frames.
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
            ``(layers, B, T - 1, 2, 2)``: per pair the earlier and the later
            frame, each x and y in grid units; with ``K`` points in a frame
            ``(layers, B, T - 1, 2, K, 2)``. The layers are the blocks in the
            backbone's ``temporal_layers``, in this order.
        frame_points (Tensor, optional): Those of each frame, the mean over
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
        """Tensor: What heads of MMAction2 take: ``featmap``, or the mean of
        the frames, ``(B, E)``."""
        return self.frames.mean(dim=1) if self.featmap is None \
            else self.featmap

    @classmethod
    def __torch_function__(cls, *args: Any) -> None:
        """Refuse to be taken for a tensor, as a head without a neck does."""
        raise ValueError(
            'with an alignment loss to pass on, `ILABackbone` gives '
            "`ILAFeatures` instead of a tensor; set `model.neck` to dict(type="
            "'AlignmentLossNeck'), or `model.type` to 'ILARecognizer'")


Outputs = Union[Tensor, ILAFeatures]
