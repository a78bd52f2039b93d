from typing import List, Tuple

import torch
from torch import Tensor

from ...ops import has_kernels

TARGETS = ('neighbour', 'first', 'middle')


class Pairs:
    """Which frames of a video are aligned with each other.

    ``T`` frames make ``T - 1`` pairs of an earlier and a later frame.

    Args:
        target (str): What each frame is aligned with (paper, ablations):
            ``'neighbour'``, the frames before and after it, or the
            ``'first'`` or ``'middle'`` frame of the video, which is then in
            all pairs. The middle frame is number ``T // 2``, from 0.
    """

    def __init__(self, target: str = 'neighbour') -> None:
        if target not in TARGETS:
            raise ValueError(
                f"target must be one of {[*TARGETS]}, got '{target}'; fix "
                '`model.backbone.temporal.target`')
        self.target = target

    def has_kernels(self, patches: Tensor) -> bool:
        """Whether the Triton kernels, made for neighbours, can be used."""
        return self.target == 'neighbour' and has_kernels(patches)

    def _anchor(self, frames: int) -> int:
        return frames // 2 if self.target == 'middle' else 0

    def numbers(self, frames: int) -> List[Tuple[int, int]]:
        """List the numbers of both frames of every pair."""
        numbers = torch.arange(frames)[None]
        earlier, later = self.split(numbers, numbers)
        return list(zip(earlier[0].tolist(), later[0].tolist()))

    def split(self, earlier: Tensor, later: Tensor) -> Tuple[Tensor, Tensor]:
        """Get the values of both frames of all pairs.

        Args:
            earlier (Tensor): ``(B, T, ...)``, values of the frames for pairs
                in which they are the earlier frame.
            later (Tensor): ``(B, T, ...)``, values for pairs in which they
                are the later frame.

        Returns:
            tuple[Tensor, Tensor]: Values of the earlier and of the later
            frame of each pair, ``(B, T - 1, ...)``.
        """
        if self.target == 'neighbour':  # Nothing is copied.
            return earlier[:, :-1], later[:, 1:]
        anchor = self._anchor(earlier.shape[1])
        cuts = anchor, anchor + 1
        before, anchor_first, _ = earlier.tensor_split(cuts, dim=1)
        _, anchor_last, after = later.tensor_split(cuts, dim=1)
        # Indexing would sum gradients of the anchor in no fixed order.
        return (torch.cat([before, anchor_first.expand_as(after)], dim=1),
                torch.cat([anchor_last.expand_as(before), after], dim=1))

    def merge(self, pairs: Tensor) -> Tensor:
        """Average the values of each frame over the pairs it belongs to.

        Args:
            pairs (Tensor): ``(B, T - 1, 2, ...)``.

        Returns:
            Tensor: ``(B, T, ...)``.
        """
        earlier, later = pairs.unbind(2)
        if self.target == 'neighbour':
            inner = (later[:, :-1] + earlier[:, 1:]) / 2
            return torch.cat([earlier[:, :1], inner, later[:, -1:]], dim=1)
        anchor = self._anchor(pairs.shape[1] + 1)
        shared = torch.cat([later[:, :anchor], earlier[:, anchor:]], dim=1)
        return torch.cat([
            earlier[:, :anchor],
            shared.mean(1, keepdim=True), later[:, anchor:]
        ],
                         dim=1)
