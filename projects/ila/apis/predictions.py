import errno
import os
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryFile
from typing import List, Union

import yaml
from mmengine.fileio import dump
from torch import Tensor

from mmaction.structures import ActionDataSample
from ..utils import replacing


def check_scores(scores: Tensor) -> None:
    """Raise a ValueError if scores or features are not finite."""
    if not scores.isfinite().all():
        raise ValueError('the scores are not finite; use weights that are, or '
                         'compute in 32-bit floats')


def check_pred_out_file(path: Union[str, Path], datasamples: bool) -> None:
    """Check that predictions can be written to a file later.

    The folder of the file is created.

    Raises:
        OSError: The file cannot be written.
        ValueError: MMEngine does not support its extension.
    """
    suffixes = ('.pkl', '.pickle')
    if not datasamples:
        suffixes += ('.json', '.yaml', '.yml')
    if path and not str(path).endswith(suffixes):
        raise ValueError(f"pred_out_file '{path}' must end with "
                         f"{', '.join(suffixes)}; choose another name")
    if path:
        if os.path.isdir(path):
            raise IsADirectoryError(errno.EISDIR, 'it is a folder', str(path))
        folder = os.path.dirname(path) or os.curdir
        os.makedirs(folder, exist_ok=True)
        TemporaryFile(dir=folder).close()


def write_predictions(results: dict, path: Union[str, Path]) -> None:
    """Write a file atomically, in the format of its extension."""
    kind = str(path).rpartition('.')[2].replace('yml', 'yaml')
    with replacing(str(path)) as partial:
        # The default dumper cannot write file names that are not UTF-8.
        options = dict(Dumper=yaml.SafeDumper) if 'yaml' in kind else dict()
        dump(results, partial, file_format=kind, **options)


def summarize(preds: List[ActionDataSample], classes: List[str],
              topk: int) -> List[dict]:
    """Turn predictions of clips into names and plain numbers, by file."""
    predictions = []
    for _, clips in groupby(preds, lambda pred: pred.number):
        timeline = []
        for clip in clips:
            scores, labels = clip.pred_score.topk(min(topk, len(classes)))
            times = {x: clip.get(x) for x in ('start', 'end') if x in clip}
            best = [
                dict(label=label, name=classes[label], score=score)
                for label, score in zip(labels.tolist(), scores.tolist())
            ]
            timeline.append(dict(**times, topk=best))
        content = dict(timeline=timeline) if times else timeline[0]
        predictions.append(dict(file=clip.filename, **content))
    return predictions
