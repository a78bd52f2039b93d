import math
import os.path as osp
from typing import List

from mmengine.fileio import exists, list_from_file

from mmaction.datasets import VideoDataset
from mmaction.registry import DATASETS


@DATASETS.register_module()
class ILAVideoDataset(VideoDataset):
    """Video dataset that names the file behind every failure.

    The annotation file has one line per video, a path and a label. The label
    is the last field, so that paths may contain the delimiter. Empty lines
    are skipped. The arguments are those of MMAction2's ``VideoDataset``;
    labels are checked against ``num_classes`` where it is given.

    Raises:
        FileNotFoundError: The annotation file, the data folder or the first
            video does not exist. The other videos are only looked for when
            they are loaded, since that takes long on network disks.
        ValueError: The annotation file is empty or one of its lines is wrong.
    """

    def load_data_list(self) -> List[dict]:
        """Read and check the annotation file.

        Returns:
            list[dict]: ``filename`` and ``label`` of each video.
        """
        if not exists(self.ann_file):
            raise FileNotFoundError(
                f"annotation file '{self.ann_file}' does not exist; prepare "
                'the dataset or mend `ann_file` in the config')
        data_list = [
            self._parse_line(line, f'{self.ann_file}:{number}')
            for number, line in enumerate(list_from_file(self.ann_file), 1)
            if line.strip()
        ]
        if not data_list:
            raise ValueError(f"annotation file '{self.ann_file}' is empty; it "
                             'needs one line per video, path and label')
        self._check_exists(data_list[0]['filename'])
        return data_list

    def _parse_line(self, line: str, place: str) -> dict:
        if self.multi_class:
            filename, *fields = line.split(self.delimiter)
        else:
            filename, *fields = line.rsplit(self.delimiter, 1)
        try:
            labels = [int(field) for field in fields]
        except ValueError:
            labels = []
        if not labels or not filename.strip():
            raise ValueError(f"{place}: '{line}' is not a path and an integer "
                             f"label with '{self.delimiter}' between them; "
                             'mend that line')
        num_classes = self.num_classes or math.inf
        for label in labels:
            if not 0 <= label < num_classes:
                raise ValueError(f'{place}: label {label} is not in '
                                 f'[0, {num_classes}); mend that line or '
                                 '`num_classes` in the config')
        return dict(
            filename=osp.join(self.data_prefix['video'], filename.strip()),
            label=labels if self.multi_class else labels[0])

    def _check_exists(self, filename: str) -> None:
        if not osp.splitext(filename)[1]:
            filename += '.mp4'  # As DecordInit does.
        if exists(filename):
            return
        folder = self.data_prefix['video'] or osp.dirname(filename)
        if not exists(folder or osp.curdir):
            raise FileNotFoundError(
                f"data folder '{folder}' does not exist; put the videos there "
                'or mend `data_prefix` in the config')
        raise FileNotFoundError(
            f"video '{filename}', the first of '{self.ann_file}', does not "
            'exist; put it there, or mend the annotation file or '
            '`data_prefix` in the config')

    def prepare_data(self, idx: int) -> dict:
        """Load one video and run the pipeline on it.

        Args:
            idx (int): Index of the video.

        Returns:
            dict: What the pipeline gives.

        Raises:
            RuntimeError: The pipeline failed. It carries nothing but a
                message, so that it leaves a worker process intact.
        """
        data_info = self.get_data_info(idx)
        filename = data_info['filename']
        try:
            return self.pipeline(data_info)
        except Exception as error:
            raise RuntimeError(
                f"cannot load video '{filename}': "
                f'{type(error).__name__}: {error}. If the file is missing, '
                'truncated or damaged, replace it or remove its line from '
                f"'{self.ann_file}'") from error
