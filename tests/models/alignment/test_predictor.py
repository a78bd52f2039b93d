import pytest
import torch

from projects.ila.models.alignment import InteractivePointPredictor
from projects.ila.models.alignment.predictor import halve


@pytest.mark.parametrize('size, pooled', [((14, 7), (7, 3)), ((3, 1), (1, 1))])
def test_halve(size, pooled):
    assert halve(torch.rand(1, 2, *size)).shape[-2:] == pooled


def test_points_of_a_pair_depend_on_both_frames_only():
    torch.manual_seed(0)
    predictor = InteractivePointPredictor(16).eval()
    patches = torch.randn(1, 4, 6, 6, 16)
    _, points = predictor(patches)
    changed = patches.clone()
    changed[:, 2] += torch.randn(6, 6, 16)
    _, moved = predictor(changed)
    same = (points == moved).flatten(2).all(-1)[0].tolist()
    assert same == [True, False, False]
    assert points.abs().max() <= 0.75


def test_unknown_stem():
    with pytest.raises(ValueError, match='temporal.predictor.stem'):
        InteractivePointPredictor(8, stem='sparse')
