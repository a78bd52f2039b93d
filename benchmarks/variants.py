"""The variants that benchmarks/ablation.py compares."""
import itertools
from typing import Dict, Iterable, List, Optional, Sequence, Tuple


def module(name: str) -> Tuple[str, str]:
    """Settings of a temporal module without alignment."""
    return ('model.backbone.temporal._delete_=True',
            'model.backbone.temporal.type='
            f'projects.ila.models.temporal.comparisons.{name}')


NONE = ('model.backbone.temporal=None', )
RELEASED = ('model.backbone.temporal.type=ReleasedAlignment', )
# Additions of this project to the alignment.
DIFFERENCE = ('model.backbone.temporal.difference=True', )
MOTION_LOSS = ('model.backbone.temporal.motion_loss=True', )
ADDITIONS = DIFFERENCE + MOTION_LOSS
HEAT_MAPS = ('model.backbone.temporal._delete_=True',
             'model.backbone.temporal.type=TokenAlignment',
             'model.backbone.temporal.predictor.type=HeatMapPredictor')
TRAJECTORIES = ('model.neck.type=TrajectoryTransformer',
                'model.backbone.layers=[1]')
# All patches are within this radius.
NO_MASK = ('model.backbone.temporal.radius=10', )


def with_additions(
        variants: Dict[str, Sequence[str]]) -> Dict[str, Sequence[str]]:
    """Add this project's additions to some variants."""
    return {name: (*ADDITIONS, *options) for name, options in variants.items()}


# Settings of each variant, by group; empty means the unchanged config. All
# have the multi-frame transformer after the blocks unless it is removed.
GROUPS: Dict[str, Dict[str, Sequence[str]]] = {
    'modules': {
        'none, frames averaged': (*NONE, 'model.neck=None'),
        'none': NONE,
        'temporal shift': module('TemporalShift'),
        'divided attention': module('DividedAttention'),
        'message token': module('MessageToken'),
        'average of neighbours': module('NeighbourAverage'),
        'ILA token': (),
        'ILA token, difference': DIFFERENCE,
        'ILA token, motion loss': MOTION_LOSS,
        'ILA token, additions': ADDITIONS,
        'ILA token, additions, heat maps': ADDITIONS + HEAT_MAPS,
        'ILA trajectories, block 2': MOTION_LOSS + HEAT_MAPS + TRAJECTORIES,
        'ILA released': RELEASED,
        'ILA released, motion loss': RELEASED + MOTION_LOSS,
    },
    'targets':
    with_additions({
        'neighbour': (),
        'first frame': ('model.backbone.temporal.target=first', ),
        'middle frame': ('model.backbone.temporal.target=middle', ),
    }),
    'parts':
    with_additions({
        'ILA token, additions': (),
        'no alignment loss': ('model.align_loss_weight=0', ),
        'a tenth of the loss': ('model.align_loss_weight=0.1', ),
        'no disturbance': ('model.backbone.temporal.disturbance=0', ),
        'smaller mask': ('model.backbone.temporal.radius=0.1', ),
        'larger mask': ('model.backbone.temporal.radius=0.5', ),
        'no mask': (*NO_MASK, ),
        'no mask and no loss': (*NO_MASK, 'model.align_loss_weight=0'),
        'two points': ('model.backbone.temporal.num_points=2', ),
        'block 1 only': ('model.backbone.layers=[0]', ),
        'block 2 only': ('model.backbone.layers=[1]', ),
    }),
}


def variants_of(groups: Iterable[str],
                only: Optional[List[str]] = None) -> Dict[str, Sequence[str]]:
    """Collect the variants of some groups, optionally only some names.

    Raises:
        ValueError: The groups have no variant with such a name.
    """
    variants = dict(
        itertools.chain.from_iterable(GROUPS[group].items()
                                      for group in groups))
    unknown = [name for name in only or [] if name not in variants]
    if unknown:
        raise ValueError(f'--only: no {unknown} in {[*variants]}')
    return {name: variants[name] for name in only or variants}
