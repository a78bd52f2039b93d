"""The shape that a config's clips have, against what its pipelines make."""
import numpy as np
import pytest
from commands import ROOT
from mmcv.transforms import Compose
from mmengine.config import Config

from mmaction.datasets.transforms import Resize
from projects.ila.utils.clip_shape import find_clip_length, find_frame_size


def make_clip(pipeline, size=(256, 256)):
    """Let the steps after the decoding make a clip; give its shape."""
    decoding = next(place for place, step in enumerate(pipeline)
                    if 'Decode' in step['type'])
    sampling = pipeline[decoding - 1]
    frames = sampling['clip_len']
    clips = sampling.get('num_clips', 1)
    video = dict(
        imgs=[np.zeros((*size[::-1], 3), np.uint8)] * frames * clips,
        original_shape=size[::-1],
        img_shape=size[::-1],
        num_clips=clips,
        clip_len=frames,
        modality='RGB',
        label=0,
        filename='a.mp4')
    inputs = Compose(pipeline[decoding + 1:])(video)['inputs']
    return tuple(inputs.shape[2:])


@pytest.mark.parametrize('name', [
    'ila_vitb16_k400', 'ila_vitl14-336_16f_ssv2', 'ila_vitb16_custom',
    'ila_motion', 'gestures/ila_vits14_egogestar'
])
@pytest.mark.parametrize('split', ['train', 'test'])
def test_shape_is_that_of_the_pipeline(name, split):
    cfg = Config.fromfile(ROOT / f'configs/{name}.py')
    dataset = cfg[f'{split}_dataloader'].dataset
    found = find_clip_length(cfg), *find_frame_size(cfg, 1, (split, ))
    assert found == make_clip(dataset.pipeline)
    # Of a wrapped data set, too.
    for wrapper in (dict(dataset=dataset), dict(datasets=[dataset])):
        cfg[f'{split}_dataloader'].dataset = wrapper
        assert find_frame_size(cfg, 1, (split, )) == found[1:]


def test_frames_that_are_not_square():
    resize = dict(type='Resize', scale=(64, 48), keep_ratio=False)
    steps = [
        dict(type='UniformSample', clip_len=2),
        dict(type='SafePyAVDecode'), resize,
        dict(type='FormatShape', input_format='NCTHW'),
        dict(type='PackActionInputs')
    ]
    cfg = Config(
        dict(
            model=dict(neck=dict(num_frames=4)),
            test_dataloader=dict(dataset=dict(pipeline=steps))))
    assert (2, *find_frame_size(cfg, 1)) == make_clip(steps)
    for kind in ('mmaction.Resize', Resize):
        cfg.test_dataloader.dataset.pipeline[2].type = kind
        assert find_frame_size(cfg, 1) == (48, 64)
    assert find_clip_length(cfg) == 2
    # Frames keep their own size, which is the model's by then.
    del cfg.test_dataloader.dataset.pipeline[2]
    assert find_frame_size(cfg, 32) == (32, 32)
    del cfg.test_dataloader.dataset.pipeline[0]
    assert find_clip_length(cfg) == 4
    cfg.model.neck = None
    with pytest.raises(ValueError, match='no `clip_len`; add it'):
        find_clip_length(cfg)
