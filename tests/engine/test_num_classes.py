from types import SimpleNamespace

import pytest
from mmengine.config import Config

from mmaction.registry import MODELS
from projects.ila.engine.num_classes import check_num_classes

OURS, THEIRS = dict(type='ILAVideoDataset'), dict(type='VideoDataset')


def check(dataset, blending=None, split='train', **head):
    """Check a data set for a head of five classes; give the loader's."""
    loader = dict(dataset=dataset)
    cfg = Config({
        'model': dict(data_preprocessor=dict(blending=blending)),
        f'{split}_dataloader': loader
    })
    model = SimpleNamespace(
        cls_head=MODELS.build(
            dict(type='ILALinearHead', num_classes=5, in_channels=4, **head)))
    check_num_classes(
        cfg, SimpleNamespace(model=model, **{f'_{split}_dataloader': loader}),
        split)
    return loader


def wrap(dataset):
    return dict(
        type='RepeatDataset',
        times=2,
        dataset=dict(type='ConcatDataset', datasets=[OURS, dataset]))


@pytest.mark.parametrize('around', [dict, wrap])
def test_data_sets_that_do_not_fit(around):
    with pytest.raises(SystemExit, match='num_classes. is 6, .* has 5 cl'):
        check(around(dict(OURS, num_classes=6)))
    with pytest.raises(SystemExit, match='is True, .*`multi_class=True`'):
        check(around(dict(OURS, multi_class=True)))
    head = dict(loss_cls=dict(type='BCELossWithLogits'))
    with pytest.raises(SystemExit, match='multi_class. is not True; set it'):
        check(around(OURS), **head)


def test_data_sets_that_fit():
    assert check(dict(OURS))['dataset']['num_classes'] == 5
    datasets = check(wrap(dict(THEIRS)))['dataset']['dataset']['datasets']
    assert [x.get('num_classes') for x in datasets] == [5, None]
    head = dict(multi_class=True)
    check(dict(OURS, multi_class=True), **head)
    check(dict(OURS), split='val', **head)
    check(dict(OURS), blending=dict(type='MixupBlending'), **head)
