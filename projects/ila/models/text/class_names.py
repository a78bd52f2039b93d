import os
from typing import List, Sequence, Union

from ...utils import find_undecodable, read_lines


def load_class_names(source: Union[str, Sequence[str]]) -> List[str]:
    """Get class names in the order of their labels.

    Args:
        source (str | Sequence[str]): ``'kinetics400'``, a text file with one
            name per line, or the names themselves.

    Raises:
        ValueError: ``source`` is none of these, the file is not UTF-8, or
            names are empty or repeated.
    """
    if source == 'kinetics400':
        from torchvision.models.video import R3D_18_Weights
        return R3D_18_Weights.KINETICS400_V1.meta['categories']
    if isinstance(source, str):
        if not os.path.isfile(source):
            raise ValueError(
                f"class_names '{source}' is neither 'kinetics400' nor a text "
                'file with one class name per line')
        names = read_lines(source)
    else:
        names = source
    if not all(isinstance(name, str) for name in names):
        raise ValueError(f'class names must be texts, got {names}; fix '
                         '`model.cls_head.class_names`')
    names = [name.strip() for name in names]
    if not names:
        raise ValueError(f'{source!r} holds no class names; write one per line'
                         ' into it')
    for name in names:
        if find_undecodable(name):
            raise ValueError(f'class name {name!r} of {source!r}: '
                             f'{find_undecodable(name)}; rename the class')
    if not all(names):
        raise ValueError(f'class name {names.index("")} of {source} is empty; '
                         'names are counted from 0')
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f'class names {repeated} of {source} occur twice')
    return names


def parse_class_names(source: Union[str, Sequence[str]]) -> List[str]:
    """Like :func:`load_class_names`, but also accept ``'one, another'``."""
    if isinstance(source,
                  str) and ',' in source and not os.path.isfile(source):
        source = source.split(',')
    return load_class_names(source)
