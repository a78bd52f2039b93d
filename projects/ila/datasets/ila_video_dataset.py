import logging
import math
import os.path as osp
from typing import Callable, List, Optional, Union

import torch
from mmengine.logging import print_log
from torch.utils.data import get_worker_info

from mmaction.datasets import VideoDataset
from mmaction.registry import DATASETS
from ..utils import find_undecodable, read_lines
from ..utils.config_arguments import find_name
from .list_lines import split_line
from .search import add_ending

# Each worker process has its own counter, so that no count is lost to a race.
_MAX_WORKERS = 256


@DATASETS.register_module()
class ILAVideoDataset(VideoDataset):
    """Video dataset that names the file of every failure.

    The annotation file has one line per video: a path and a label, or several
    labels with ``multi_class=True``. Labels are the last fields, so that paths
    may contain the delimiter. Empty lines are skipped. Labels are checked
    against ``num_classes``; this project's tools set it to that of the model.
    The file is UTF-8, or UTF-16 with a byte order mark; a path may contain
    other bytes if the file exists. The data sample of a video has its
    ``filename`` as meta information.

    Args:
        ann_file (str): The annotation file.
        pipeline (list): Transforms or their configs.
        mirror (bool): Whether to keep the pipeline's ``Flip``. Set it to False
            if left and right are different classes.
        on_error (str): What to do in training if a video cannot be loaded:
            ``'raise'``, or ``'skip'``, which logs and counts the failure and
            loads a random other video, with its own label. Tests always
            raise.
        max_errors (int): Number of failures to skip before an error is
            raised, counted over the data loader's workers.
        **kwargs: Arguments of MMAction2's ``VideoDataset``.

    Raises:
        FileNotFoundError: The annotation file, the data folder or the first
            video does not exist. Other videos are not checked until they are
            loaded, since that takes long on network disks.
        ValueError: The annotation file is empty, one of its lines is wrong,
            or ``on_error`` is invalid.
    """

    def __init__(self,
                 ann_file: str,
                 pipeline: List[Union[dict, Callable]],
                 *args,
                 mirror: bool = True,
                 on_error: str = 'raise',
                 max_errors: int = 100,
                 **kwargs) -> None:
        if on_error not in ('raise', 'skip'):
            raise ValueError("on_error must be 'raise' or 'skip', got "
                             f"'{on_error}'; fix it in the config")
        self.on_error = on_error
        self.max_errors = max_errors
        self._errors = torch.zeros(_MAX_WORKERS, dtype=torch.int64)
        self._errors.share_memory_()
        if not mirror:
            pipeline = [
                step for step in pipeline if not isinstance(step, dict)
                or find_name(step['type']) != 'Flip'
            ]
        super().__init__(ann_file, pipeline, *args, **kwargs)

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._errors.share_memory_()  # Copied tensors are not shared.

    @property
    def num_errors(self) -> int:
        """int: How many failures were skipped."""
        return int(self._errors.sum())

    def load_data_list(self) -> List[dict]:
        """Read and check the annotation file."""
        if set(self.data_prefix) != {'video'}:
            raise ValueError(
                "data_prefix must be dict(video='...'), the folder of the "
                f'videos, got {dict(self.data_prefix)}; fix it in the config')
        try:
            lines = read_lines(self.ann_file, 'surrogateescape')
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"annotation file '{self.ann_file}' does not exist; prepare "
                'the dataset or fix `ann_file` in the config') from error
        except ValueError:
            raise
        except Exception as error:  # Its type depends on the storage.
            raise ValueError(
                f"annotation file '{self.ann_file}' cannot be fetched "
                f'({type(error).__name__}: {error}); fix `ann_file` in the '
                'config') from error
        data_list = [
            self._parse_line(line, f'{self.ann_file}:{number}')
            for number, line in enumerate(lines, 1) if line.strip()
        ]
        if not data_list:
            raise ValueError(f"annotation file '{self.ann_file}' is empty; it "
                             'needs one line per video, path and label')
        self._check_exists(data_list[0]['filename'])
        return data_list

    def _parse_line(self, line: str, place: str) -> dict:
        try:
            path, labels = split_line(line, self.delimiter, self.multi_class,
                                      self._is_file)
        except ValueError as error:
            raise ValueError(f'{place}: {error}') from error
        if find_undecodable(line) and not self._is_file(path):
            raise ValueError(
                f'{place}: {find_undecodable(line)}, and there is no file '
                f"'{path}'; save the list as UTF-8, for instance with `iconv "
                '-f LATIN1 -t UTF-8`')
        num_classes = self.num_classes or math.inf
        for label in labels:
            if not 0 <= label < num_classes:
                raise ValueError(f'{place}: label {label} is not in '
                                 f'[0, {num_classes}); fix that line or '
                                 'the classes of the model')
        return dict(
            filename=osp.join(self.data_prefix['video'], path),
            label=labels if self.multi_class else labels[0])

    def get_cat_ids(self, idx: int) -> List[int]:
        """Get a video's labels, for MMEngine's ``ClassBalancedDataset``."""
        label = self.get_data_info(idx)['label']
        # Several labels are multi-hot.
        return label.nonzero()[:, 0].tolist() if self.multi_class else [label]

    @property
    def _on_disk(self) -> bool:
        return all(
            getattr(step, 'io_backend', 'disk') == 'disk'
            for step in self.pipeline.transforms)

    def _is_file(self, path: str) -> bool:
        if not self._on_disk:
            return False  # Some storages cannot tell.
        path = osp.join(self.data_prefix['video'], path)
        return osp.exists(add_ending(path))

    def _check_exists(self, filename: str) -> None:
        if not self._on_disk:
            return  # Other storages tell when a video is loaded.
        filename = add_ending(filename)
        if osp.exists(filename):
            return
        folder = self.data_prefix['video'] or osp.dirname(filename)
        if not osp.exists(folder or osp.curdir):
            raise FileNotFoundError(
                f"data folder '{folder}' does not exist; put the videos there "
                'or fix `data_prefix` in the config')
        raise FileNotFoundError(
            f"video '{filename}', the first of '{self.ann_file}', does not "
            'exist; put it there, or fix the annotation file or '
            '`data_prefix` in the config')

    def prepare_data(self, idx: int) -> Optional[dict]:
        """Load one video and run the pipeline on it.

        Returns None for a skipped video; the dataset then loads another one.

        Raises:
            RuntimeError: The pipeline failed. The error holds only a message,
                so that it can be passed out of a worker process.
        """
        data_info = self.get_data_info(idx)
        filename = data_info['filename']
        try:
            results = self.pipeline(data_info)
        except Exception as error:
            message = (f"cannot load video '{filename}': "
                       f'{type(error).__name__}: {error}. Fix that, or remove '
                       f"its line from '{self.ann_file}'")
            if self.on_error == 'raise' or self.test_mode:
                raise RuntimeError(message) from error
            self._skip(message)
            return None
        if 'data_samples' in results:
            results['data_samples'].set_metainfo(dict(filename=filename))
        return results

    def _skip(self, message: str) -> None:
        worker = get_worker_info()
        self._errors[(worker.id if worker else 0) % _MAX_WORKERS] += 1
        count = self.num_errors
        if count > self.max_errors:
            raise RuntimeError(
                f'{message}. More than `max_errors={self.max_errors}` videos '
                'could not be loaded; fix them or raise that limit')
        # Log files do not accept file names that are not UTF-8.
        message = message.encode(errors='backslashreplace').decode()
        print_log(
            f'Skipped ({count} so far): {message}',
            logger='current',
            level=logging.WARNING)
