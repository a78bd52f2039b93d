from .heat_map import HeatMapPredictor
from .implicit import ImplicitAlignment
from .masks import pair_masks, soft_mask
from .pairs import Pairs
from .predictor import InteractivePointPredictor

__all__ = [
    'HeatMapPredictor', 'ImplicitAlignment', 'InteractivePointPredictor',
    'Pairs', 'pair_masks', 'soft_mask'
]
