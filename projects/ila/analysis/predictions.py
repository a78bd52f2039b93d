"""The predictions of a test, read from its dump."""
import os
from typing import List, NamedTuple

import numpy as np
import torch
from mmengine.config import Config

from ..datasets.annotations import parse_list, read_list
from ..models.text import load_class_names
from ..utils import naming_source
from ..utils.config_arguments import find_name
from ..weights.torch_file import load_pickle

_HINT = 'give a file that `tools/test.py --dump` wrote'


class Predictions(NamedTuple):
    """The scores and labels of videos with one label each.

    Attributes:
        source (str): The file that contains them.
        scores (np.ndarray): Shape (videos, classes), float64.
        labels (np.ndarray): Shape (videos,).
        files (list[str]): The video files; empty if they are not known.
    """
    source: str
    scores: np.ndarray
    labels: np.ndarray
    files: List[str]

    @property
    def predicted(self) -> np.ndarray:
        """np.ndarray: Classes of the highest scores, shape (videos,)."""
        # Equal scores are ordered as in MMAction2's `top_k_accuracy`.
        return self.scores.argsort(1)[:, -1]

    @property
    def correct(self) -> np.ndarray:
        """np.ndarray: Which videos are classified correctly, bool."""
        return self.predicted == self.labels

    @property
    def are_probabilities(self) -> bool:
        """bool: Whether the scores of each video sum to 1."""
        return bool((self.scores >= 0).all()
                    and np.allclose(self.scores.sum(1), 1, atol=0.01))


def _to_array(records: List[dict], key: str) -> np.ndarray:
    """Stack an entry of all predictions, as (videos, values), float64."""
    values = [record.get(key) for record in records]
    missing = sum(value is None for value in values)
    if missing:
        raise ValueError(f'{missing} of {len(values)} predictions have no '
                         f'`{key}`; {_HINT}, for videos with labels')
    try:
        arrays = [torch.as_tensor(x).double().numpy() for x in values]
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f'`{key}` holds no numbers ({error}); {_HINT}')
    shapes = sorted({array.shape for array in arrays})
    if len(shapes) > 1:
        raise ValueError(
            f'`{key}` has the shapes {shapes[0]} and {shapes[1]}, '
            'but all videos need as many; the predictions are of '
            'several models or of videos with several labels')
    return np.stack(arrays)


def _check(scores: np.ndarray, labels: np.ndarray) -> None:
    if scores.ndim != 2 or not scores.shape[1]:
        raise ValueError(
            f'the scores of a video have the shape {scores.shape[1:]}, but '
            'must be one per class; test with '
            "`model.cls_head.average_clips='prob'`")
    if labels.shape[1:] not in ((), (1, )):
        raise ValueError('the videos have several labels each; only '
                         'predictions for one label per video can be analyzed')
    if not np.isfinite(scores).all():
        raise ValueError('some scores are not finite; look for the cause in '
                         'the checkpoint')
    wrong = labels[(labels < 0) | (labels >= scores.shape[1])]
    if wrong.size:
        raise ValueError(f'label {wrong[0]:g} does not fit the '
                         f'{scores.shape[1]} scores of each video; test with '
                         'a list and a config that belong together')


def read_predictions(path: str) -> Predictions:
    """Read a file that ``tools/test.py --dump`` wrote.

    No code from the file is run, so it may be from anyone.

    Args:
        path (str): The pickle file.

    Raises:
        OSError: The file cannot be read.
        ValueError: It does not hold predictions for one label per video.
    """
    with open(path, 'rb') as file, naming_source(path):
        try:
            records = load_pickle(file)
        except Exception as error:  # Its type depends on the damage.
            raise ValueError('it cannot be read as predictions '
                             f'({type(error).__name__}: {error}); {_HINT}')
        if not isinstance(records, list) or not records or not all(
                isinstance(record, dict) for record in records):
            raise ValueError(f'it is not a list of predictions; {_HINT}')
        scores = _to_array(records, 'pred_score')
        labels = _to_array(records, 'gt_label')
        _check(scores, labels)
    files = [record.get('filename') for record in records]
    return Predictions(path, scores,
                       labels.reshape(-1).astype(int),
                       [] if None in files else [*map(str, files)])


def class_names_of(cfg: Config) -> List[str]:
    """Get the names of a config's classes, or their numbers.

    Raises:
        ValueError: The config's model has no classes.
    """
    head = cfg.get('model', {}).get('cls_head') or {}
    if head.get('class_names') is not None:
        return load_class_names(head['class_names'])
    if not isinstance(head.get('num_classes'), int):
        raise ValueError(f'{cfg.filename}: `model.cls_head` has neither '
                         '`class_names` nor `num_classes`; give the config '
                         'of the test')
    return [str(number) for number in range(head['num_classes'])]


def add_files(predictions: Predictions, cfg: Config) -> Predictions:
    """Add the video files from the test list of a config, if not known.

    With data sets of MMAction2, a dump does not contain the files, but has the
    order of the list.

    Raises:
        ValueError: The list has other labels.
    """
    dataset = (cfg.get('test_dataloader') or {}).get('dataset') or {}
    if predictions.files or not dataset.get('ann_file'):
        return predictions
    # Join paths as MMAction2's data sets do.
    root, prefix = dataset.get('data_root') or '', dataset.get('data_prefix')
    prefix = prefix or {}
    prefix = os.path.join(root, prefix.get('video', prefix.get('img', '')))
    source = os.path.join(root, dataset.ann_file)
    lines = read_list(source)
    if find_name(dataset.get('type', '')).endswith('RawframeDataset'):
        fields = [line.split() for line in lines]
        files = [os.path.join(prefix, folder) for folder, *_ in fields]
        labels = [int(label) for *_, label in fields]
    else:
        entries, _ = parse_list(lines, source, prefix)
        files = [entry.path for entry in entries]
        labels = [entry.label for entry in entries]
    if labels != predictions.labels.tolist():
        raise ValueError(f'{predictions.source}: its labels are not those of '
                         f'{source}; give the config of the test')
    return predictions._replace(files=files)
