"""What a user turns in configs/ila_vitb16_custom.py, and what it reaches."""
from pathlib import Path

import pytest
import torch
from mmengine.config import Config, DictAction
from tiny import tiny_config
from videos import write_video

from mmaction.registry import DATASETS, MODELS
from projects.ila.engine.num_classes import set_num_classes

TEMPLATE = Path(__file__).parents[1] / 'configs/ila_vitb16_custom.py'
CHILD = f'''
_base_ = ['{TEMPLATE}']
model = dict(cls_head=dict(class_names='names.txt'))
train_dataloader = dict(
    batch_size=4,
    dataset=dict(mirror=False, ann_file='list.txt', data_prefix=dict(video='')))
'''
OPTIONS = {
    'model.cls_head.class_names': 'names.txt',
    'train_dataloader.batch_size': '4',
    'train_dataloader.dataset.mirror': 'False',
    'train_dataloader.dataset.ann_file': 'list.txt',
    'train_dataloader.dataset.data_prefix.video': ''
}


def load_child():
    Path('child.py').write_text(CHILD)
    return Config.fromfile('child.py')


def load_with_options():
    cfg = Config.fromfile(TEMPLATE)
    cfg.merge_from_dict({
        key: DictAction._parse_int_float_bool(value)
        for key, value in OPTIONS.items()
    })
    return cfg


@pytest.fixture(params=[None, load_child, load_with_options])
def cfg(request, tmp_path, monkeypatch):
    """The template as it is, and changed in either way."""
    monkeypatch.chdir(tmp_path)
    data = Path('data/custom')
    data.mkdir(parents=True)
    for path, names in (('names.txt', 'abc'), (data / 'class_names.txt',
                                               'ab')):
        Path(path).write_text('\n'.join(names))
    for path in (data / 'videos/a.mp4', Path('a.mp4')):
        path.parent.mkdir(exist_ok=True)
        write_video(path, 12)
    for path in (data / 'train.txt', Path('list.txt')):
        path.write_text('a.mp4 1\n')
    return request.param() if request.param else Config.fromfile(TEMPLATE)


def test_what_is_turned_reaches_all_others(cfg, request):
    changed = 'None' not in request.node.name
    num_classes, loader = (3 if changed else 2), cfg.train_dataloader
    assert loader.batch_size == (4 if changed else 8)

    # A smaller network; head and preprocessing are the template's.
    tiny = tiny_config().model
    cfg.model.update(backbone=tiny.backbone, neck=tiny.neck)
    cfg.model.cls_head.update(
        in_channels=16, patch_channels=32, text_encoder=dict(layers=1))
    model = MODELS.build(cfg.model)
    assert model.cls_head.num_classes == num_classes

    set_num_classes(loader, model.cls_head.num_classes)
    dataset = DATASETS.build(loader.dataset)
    kinds = [type(step).__name__ for step in dataset.pipeline.transforms]
    expected = [step.type for step in cfg.train_pipeline]
    if changed:
        expected.remove('Flip')
    assert kinds == expected
    Path('wrong.txt').write_text(f'a.mp4 {num_classes}\n')
    with pytest.raises(ValueError, match=rf'not in \[0, {num_classes}\)'):
        DATASETS.build({**loader.dataset, 'ann_file': 'wrong.txt'})

    # Blending turns labels into shares of all classes.
    samples = [dataset[0]['data_samples'].clone() for _ in range(8)]
    clips = torch.rand(8, 1, 3, 2, 8, 8)
    for blending in (model.data_preprocessor.blending,
                     *model.data_preprocessor.blending.augments[:2]):
        _, blended = blending(clips, [sample.clone() for sample in samples])
        assert blended[0].gt_label.tolist() == [0, 1, *[0] * (num_classes - 2)]


def test_number_of_classes_of_nested_data_sets():
    """Stated ones stay, and other data sets get none."""
    inner = [
        dict(type='ILAVideoDataset'),
        dict(type='ILAVideoDataset', num_classes=4),
        dict(type='RawframeDataset')
    ]
    cfg = dict(dataset=dict(type='ConcatDataset', datasets=inner))
    set_num_classes(cfg, 3)
    assert [x.get('num_classes') for x in inner] == [3, 4, None]
    assert cfg['dataset'].keys() == {'type', 'datasets'}
