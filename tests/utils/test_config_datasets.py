import pytest
from mmengine.config import Config
from tiny import tiny_config

from projects.ila.apis.feature_file import describe_model
from projects.ila.utils.config_datasets import find_dataset, find_pipeline
from projects.ila.utils.config_json import select_shared

WRAPPERS = [
    lambda dataset: dict(type='RepeatDataset', times=2, dataset=dataset),
    lambda dataset: dict(type='ConcatDataset', datasets=[dataset, dataset]),
    lambda dataset: dict(
        type='RepeatDataset',
        times=2,
        dataset=dict(type='ConcatDataset', datasets=[dataset])),
]


@pytest.mark.parametrize('wrap', WRAPPERS)
def test_wrapped_data_sets_are_read_as_others(tmp_path, wrap):
    """For files of features and shared models as well."""
    (tmp_path / 'a.pth').write_bytes(b'a')
    plain, wrapped = tiny_config(), tiny_config()
    dataset = plain.test_dataloader.dataset
    wrapped.test_dataloader.dataset = wrap(dataset.to_dict())
    assert find_dataset(wrapped, 'test') == dataset
    assert find_pipeline(wrapped, 'test') == dataset.pipeline
    (one, other), (shared,
                   same) = zip(*((describe_model(cfg, str(tmp_path / 'a.pth')),
                                  select_shared(cfg.model.to_dict(), cfg))
                                 for cfg in (plain, wrapped)))
    assert one == other
    assert shared == same and shared['test_dataloader']


@pytest.mark.parametrize('cfg', [
    dict(),
    dict(test_dataloader=None),
    dict(test_dataloader=dict(dataset=None)),
    dict(test_dataloader=dict(dataset=dict(pipeline=None)))
])
def test_nothing_to_read(cfg):
    assert find_dataset(Config(cfg), 'test') == {}
    assert find_pipeline(Config(cfg), 'test') == []
