"""Names of weights: our own, and conversion of other names to them."""
import re
from typing import Callable, Dict, Tuple

from torch import Tensor

StateDict = Dict[str, Tensor]

# Entries that a text head saves in addition to its weights.
_TEXT_FEATURES = ('cls_head.text_features', 'cls_head.texts')


def is_temporal(name: str) -> bool:
    """Whether a name of ours belongs to a temporal module."""
    return name.startswith('backbone.temporal.')


def is_text_feature(name: str) -> bool:
    """Whether an entry of ours only caches outputs of the text tower."""
    return name in _TEXT_FEATURES


def is_pretraining(name: str) -> bool:
    """Whether a name of ours belongs to the image model or to CLIP."""
    return name.startswith(
        ('backbone.image.',
         'cls_head.text_encoder.')) or (name == 'cls_head.logit_scale'
                                        or is_text_feature(name))


def under(theirs: str, ours: str, *tables: Dict[str, str]) -> Dict[str, str]:
    """Add a prefix to the names on each side of tables."""
    return {
        f'{theirs}{old}': f'{ours}{new}'
        for table in tables
        for old, new in table.items()
    }


def make_renamer(table: Dict[str, str]) -> Callable[[str], str]:
    """Make a function that renames by a table and keeps other names.

    Args:
        table (dict[str, str]): New names by old names. Entries that end in
            '.' or '_' are prefixes; '#' stands for a number.
    """
    patterns = []
    for old, new in table.items():
        start = r'(\d+)'.join(map(re.escape, old.split('#')))
        rest = '(.*)' if old.endswith(('.', '_')) else '()'
        patterns.append((re.compile(start + rest), new))

    def rename(name: str) -> str:
        for pattern, new in patterns:
            match = pattern.fullmatch(name)
            if match:
                return new.replace('#', match[1]) + match[match.lastindex]
        return name

    return rename


def reshape(name: str,
            value: Tensor,
            table: Dict[str, Tuple[Callable, Callable]],
            back: bool = False) -> Tensor:
    """Change a weight to our shape, by a table of our names, or back."""
    key = re.sub(r'(?<=\.)\d+(?=\.)', '#', name)
    return table[key][back](value) if key in table else value
