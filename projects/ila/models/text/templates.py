import os
from typing import List, Sequence, Union

from ...utils import read_lines


def load_templates(source: Union[str, Sequence[str]]) -> List[str]:
    """Get the templates that turn class names into texts.

    Args:
        source (str | Sequence[str]): A template, in which ``{}`` stands for
            the class name, several templates, or a text file with one per
            line.

    Raises:
        ValueError: There is no template, or one does not contain ``{}``
            exactly once.
    """
    if not isinstance(source, str):
        templates = source
    elif os.path.isfile(source):
        templates = read_lines(source)
    else:
        templates = [source]
    templates = [template.strip() for template in templates]
    for template in templates:
        if template.count('{}') != 1:
            raise ValueError(
                f"template '{template}' of `model.cls_head.templates` must "
                'hold {} exactly once, where the class name goes; if it is '
                'meant as a text file, there is none of that name')
    if not templates:
        raise ValueError(f'no template in {source}; give '
                         '`model.cls_head.templates` one with {} in it')
    return templates
