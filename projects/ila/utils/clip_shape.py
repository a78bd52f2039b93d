"""Shape of the clips from the pipelines of a config."""
from typing import Iterator, Sequence, Tuple

from mmengine.config import Config

from .config_arguments import find_name
from .config_datasets import find_pipeline

# Arguments of MMAction2's transforms that set the size of all frames.
SIZES = dict(
    CenterCrop='crop_size',
    ThreeCrop='crop_size',
    TenCrop='crop_size',
    RandomCrop='size',
    Resize='scale')
SPLITS = 'test', 'train'


def _find_steps(cfg: Config, splits: Sequence[str]) -> Iterator[dict]:
    """Yield the steps of the splits' pipelines, each in reverse order."""
    for split in splits:
        yield from reversed(find_pipeline(cfg, split))


def find_clip_length(cfg: Config, splits: Sequence[str] = SPLITS) -> int:
    """Find the number of frames of a clip, from the pipelines or the neck.

    Pipelines come first, since the neck interpolates its positions for clips
    of another length.

    Args:
        cfg (Config): The config.
        splits (Sequence[str]): Splits whose pipelines are read, in order of
            priority.

    Raises:
        ValueError: Neither a pipeline nor the neck states the number.
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
        img_size (int): Side of the frames if no pipeline sets their size.
        splits (Sequence[str]): Splits whose pipelines are read, in order of
            priority.
    """
    for step in _find_steps(cfg, splits):
        kind = find_name(step['type'])
        size = step.get(SIZES.get(kind))
        if size and not (kind == 'Resize' and step.get('keep_ratio', True)):
            width, height = (size, size) if isinstance(size, int) else size
            return height, width
    return img_size, img_size
