"""Shape of the clips that the pipelines of a config give."""
from typing import Iterator, Sequence, Tuple

from mmengine.config import Config

# Arguments of MMAction2's transforms that give all frames one size.
SIZES = dict(
    CenterCrop='crop_size',
    ThreeCrop='crop_size',
    TenCrop='crop_size',
    RandomCrop='size',
    Resize='scale')
SPLITS = 'test', 'train'


def _find_steps(cfg: Config, splits: Sequence[str]) -> Iterator[dict]:
    """Find the steps of the splits' pipelines, the last of each first."""
    for split in splits:
        dataset = (cfg.get(f'{split}_dataloader') or {}).get('dataset') or {}
        while 'pipeline' not in dataset:  # It is wrapped, or there is none.
            inner = dataset.get('datasets') or [dataset.get('dataset') or {}]
            if not inner[0]:
                break
            dataset = inner[0]
        yield from reversed(dataset.get('pipeline') or [])


def find_clip_length(cfg: Config, splits: Sequence[str] = SPLITS) -> int:
    """Find the number of frames of a clip, from the pipelines or the neck,
    which interpolates its positions for clips of another length.

    Args:
        cfg (Config): The config.
        splits (Sequence[str]): Whose pipelines are read, the first first.

    Raises:
        ValueError: Neither a pipeline nor the neck says it.
    """
    for step in _find_steps(cfg, splits):
        if 'clip_len' in step:
            return step['clip_len']
    neck = cfg.model.get('neck') or dict()
    if 'num_frames' in neck:
        return neck['num_frames']
    raise ValueError('without `model.neck.num_frames` the number of frames is '
                     'taken from the pipelines, which have no `clip_len`; add '
                     'it')


def find_frame_size(cfg: Config,
                    img_size: int,
                    splits: Sequence[str] = SPLITS) -> Tuple[int, int]:
    """Find height and width of the frames, in pixels.

    Args:
        cfg (Config): The config.
        img_size (int): Side of the frames if no pipeline gives them a size.
        splits (Sequence[str]): Whose pipelines are read, the first first.
    """
    for step in _find_steps(cfg, splits):
        size = step.get(SIZES.get(step['type']))
        if size and not (step['type'] == 'Resize'
                         and step.get('keep_ratio', True)):
            width, height = (size, size) if isinstance(size, int) else size
            return height, width
    return img_size, img_size
