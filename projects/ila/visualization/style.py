from dataclasses import dataclass, field
from typing import Dict, Optional, Sequence

import numpy as np
from torch import nn

from ..models.alignment import Pairs


@dataclass(frozen=True)
class DrawingStyle:
    """Settings of drawings, in addition to frames and values.

    Attributes:
        patch_size (int): Pixels per side of a patch. With 1, masks are
            smooth, and points at the edge are up to half a patch too far out.
        radius (float): See :func:`soft_mask`.
        slope (float): See :func:`soft_mask`.
        pairs (Pairs): The pairs of frames that are aligned.
        blocks (Sequence[int], optional): Indices of the blocks to which the
            values belong. Defaults to 0, 1 and so on.
        layers (Sequence[int], optional): Indices of the blocks to draw.
            Defaults to all.
        title (str): Lines above the drawing; long ones are wrapped.
    """
    patch_size: int = 1
    radius: float = 0.25
    slope: float = 1.5
    pairs: Pairs = field(default_factory=Pairs)
    blocks: Optional[Sequence[int]] = None
    layers: Optional[Sequence[int]] = None
    title: str = ''

    @classmethod
    def of(cls, model: nn.Module, **kwargs) -> 'DrawingStyle':
        """Take the settings from an ``ILARecognizer`` with alignment."""
        backbone = model.backbone
        alignment = backbone.alignments[0]
        return cls(
            patch_size=backbone.image.patch_size,
            radius=alignment.radius,
            slope=alignment.slope,
            pairs=alignment.pairs,
            blocks=backbone.temporal_layers,
            **kwargs)

    def choose(self, values: np.ndarray) -> Dict[int, np.ndarray]:
        """Choose values of ``layers``, by block, from ``(blocks, ...)``."""
        blocks = self.blocks
        named = dict(
            zip(range(len(values)) if blocks is None else blocks, values))
        if self.layers is None:
            return named
        return {number: named[number] for number in self.layers}


PLAIN = DrawingStyle()
