import pytest
import torch
from alignment_loops import PAIRS

from projects.ila.models.alignment import Pairs

with_pairs = pytest.mark.parametrize('target, frames', PAIRS)


@with_pairs
def test_split_takes_both_frames_of_every_pair(target, frames):
    pairs, expected = Pairs(target), PAIRS[target, frames]
    assert pairs.numbers(frames) == expected
    earlier, later = torch.randn(2, 3, frames, 4)
    for own, source, numbers in zip(
            pairs.split(earlier, later), (earlier, later), zip(*expected)):
        assert torch.equal(own, source[:, list(numbers)])


@with_pairs
def test_merge_averages_over_the_pairs_of_a_frame(target, frames):
    values = torch.randn(2, frames - 1, 2, 5)
    of_frames = [[] for _ in range(frames)]
    for number, pair in enumerate(PAIRS[target, frames]):
        for half, frame in enumerate(pair):
            of_frames[frame].append(values[:, number, half])
    torch.testing.assert_close(
        Pairs(target).merge(values),
        torch.stack([sum(found) / len(found) for found in of_frames], dim=1))
