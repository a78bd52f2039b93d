import errno
import os

import numpy as np
import pytest

from projects.ila.apis.feature_file import FeatureFile


@pytest.mark.parametrize('name', ['names{}', '{}'])
@pytest.mark.parametrize('suffix', ['.npz', '.parquet'])
def test_any_names_come_back(tmp_path, name, suffix):
    if suffix == '.parquet':
        pytest.importorskip('pyarrow')
    path = str(tmp_path / name.format(suffix))
    written = FeatureFile(path, 'model')
    # One of them is not UTF-8.
    for number, video in enumerate(['caf\udce9.mp4', 'é 視.mp4', 'a|b.mp4']):
        written.add(video, np.full(2, number + 0.1, np.float32))
    written.save()
    read = FeatureFile(path, 'model').features
    assert list(read) == list(written.features)
    for name, feature in written.features.items():
        assert read[name].dtype == np.float32
        np.testing.assert_array_equal(read[name], feature)


def test_full_disk_is_told_with_the_file(tmp_path, monkeypatch):
    path = str(tmp_path / 'a.npz')
    file = FeatureFile(path, 'model')
    file.add('a.mp4', np.ones(2, np.float32))

    def fail(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(np, 'savez', fail)
    with pytest.raises(ValueError, match=f"'{path}': No space left .*; fix"):
        file.save()
    assert not os.listdir(tmp_path)
