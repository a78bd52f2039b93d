from types import SimpleNamespace

import pytest
from mmengine.config import Config

from mmaction.evaluation import AccMetric
from mmaction.registry import MODELS
from projects.ila.engine.num_classes import check_num_classes


class OwnAccMetric(AccMetric):
    """Which may compute anything."""


OURS, THEIRS = dict(type='ILAVideoDataset'), dict(type='VideoDataset')


def check(dataset, blending=None, split='train', evaluator=None, **head):
    """Check a data set for a head of five classes; give the loader's."""
    loader = dict(dataset=dataset)
    cfg = Config({
        'model': dict(data_preprocessor=dict(blending=blending)),
        f'{split}_dataloader': loader,
        f'{split}_evaluator': evaluator
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
    loss = dict(type='CBFocalLoss', samples_per_cls=[1, 2, 3, 4, 5])
    with pytest.raises(SystemExit, match='with CBFocalLoss is for one label'):
        check(around(dict(OURS, multi_class=True)), loss_cls=loss)


@pytest.mark.parametrize('split', ['val', 'test'])
@pytest.mark.parametrize('dataset, evaluator, head, message', [
    (dict(OURS,
          multi_class=True), dict(type='AccMetric'), dict(multi_class=True),
     'top_k_accuracy and mean_class_accuracy take one'),
    (wrap(dict(THEIRS, multi_class=True)), [
        dict(type='DumpResults'),
        dict(type='AccMetric', metric_list='top_k_accuracy')
    ], dict(multi_class=True), "_evaluator.metric_list` to 'mean_average_p"),
    (dict(OURS, multi_class=True), dict(metrics=[dict(type=AccMetric)]),
     dict(multi_class=True),
     'top_k_accuracy and mean_class_accuracy take one'),
    (OURS, dict(type='AccMetric'), dict(average_clips=None),
     "set `model.cls_head.average_clips` to 'prob'"),
])
def test_accuracies_that_cannot_be_computed(split, dataset, evaluator, head,
                                            message):
    with pytest.raises(SystemExit, match=message):
        check(dataset, split=split, evaluator=evaluator, **head)


def test_data_sets_that_fit():
    assert check(dict(OURS))['dataset']['num_classes'] == 5
    datasets = check(wrap(dict(THEIRS)))['dataset']['dataset']['datasets']
    assert [x.get('num_classes') for x in datasets] == [5, None]
    head = dict(multi_class=True)
    check(dict(OURS, multi_class=True), **head)
    check(dict(OURS), split='val', **head)
    check(dict(OURS), blending=dict(type='MixupBlending'), **head)
    precision = dict(type='AccMetric', metric_list='mean_average_precision')
    for evaluator in (precision, [precision], None, dict(type='DumpResults')):
        check(
            dict(OURS, multi_class=True),
            split='val',
            evaluator=evaluator,
            **head)
    check(dict(OURS), split='val', evaluator=dict(type='AccMetric'))
    check(
        dict(OURS),
        split='val',
        evaluator=[AccMetric(), dict(type=OwnAccMetric)],
        average_clips=None)
    check(
        dict(OURS),
        loss_cls=dict(type='CBFocalLoss', samples_per_cls=[1, 2, 3, 4, 5]))
