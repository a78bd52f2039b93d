"""Checkpoints that are named by an address or by a model's name."""
import functools
import http.server
import os
import re
import sys
import threading
import types
from pathlib import Path
from uuid import uuid4

import pytest
import torch
from huggingface_hub import constants
from mmengine import fileio
from mmengine.config import Config
from mmengine.fileio import BaseStorageBackend
from mmengine.fileio.backends import registry_utils
from mmengine.registry import DefaultScope
from mmengine.runner import CheckpointLoader, Runner
from mmengine.runner import checkpoint as hub
from open_clip import pretrained

from mmaction.registry import MODELS
from projects.ila.apis import ILAInferencer, read_weights
from projects.ila.apis.deployment import load_classifier
from projects.ila.cli import load_all_weights
from projects.ila.visualization.pictures import load_model
from projects.ila.weights import remote_file
from projects.ila.weights.checkpoint import load_from_file

ROOT = Path(__file__).resolve().parents[2]


class Attack:

    def __reduce__(self):
        return os.mkdir, ('attacked', )


class Handler(http.server.SimpleHTTPRequestHandler):

    def log_message(self, *args):
        """Say nothing."""


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A folder whose files are at an address."""
    folder = tmp_path / 'served'
    (folder / 'other').mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    # What PyTorch does unless it is told otherwise.
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    server = http.server.ThreadingHTTPServer(
        ('127.0.0.1', 0), functools.partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield folder, f'http://127.0.0.1:{server.server_port}'
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def names(served, monkeypatch):
    """Names of ``a.pth`` in that folder, one for each scheme or more."""
    folder, address = served
    tables = dict(
        get_torchvision_models=dict(a=f'{address}/a.pth'),
        get_external_models=dict(a=f'{address}/a.pth'),
        get_deprecated_model_names=dict(old='a'),
        get_mmcls_models=dict(a=f'{address}/a.pth'))
    for name, table in tables.items():
        monkeypatch.setattr(hub, name, lambda table=table: table)

    class Storage(BaseStorageBackend):

        def get(self, path):
            return (folder / path.split('/')[-1]).read_bytes()

        def get_text(self, path):
            raise NotImplementedError

    # Other tests' storages may be kept.
    monkeypatch.setattr(fileio.io, 'backend_instances', {})
    for prefix in ('s3', 'petrel'):
        monkeypatch.setitem(registry_utils.prefix_to_backends, prefix, Storage)

    class Model:
        name = 'a.pth'

        def download(self, path):
            Path(path).write_bytes((folder / 'a.pth').read_bytes())

    pavi = types.ModuleType('pavi')
    pavi.modelcloud = types.SimpleNamespace(get=lambda name: Model())
    monkeypatch.setitem(sys.modules, 'pavi', pavi)
    return [
        str(folder / 'a.pth'), f'{address}/a.pth', 'torchvision://a',
        'modelzoo://a', 'open-mmlab://a', 'openmmlab://old', 'mmcls://a',
        's3://bucket/a.pth', 'petrel://bucket/a.pth', 'x:s3://bucket/a.pth',
        'x:petrel://bucket/a.pth', 'pavi://folder/a.pth'
    ]


def test_every_scheme_reads_data_and_no_code(served, names):
    folder, address = served
    for prefix, loader in CheckpointLoader._schemes.items():
        assert loader is load_from_file, prefix
        assert (prefix == 'https://'
                or any(re.match(prefix, name) for name in names)), prefix
    for name in names:
        torch.save(dict(state_dict={'a': Attack()}), folder / 'a.pth')
        with pytest.raises(ValueError, match=f"'{name}' holds more than data"):
            CheckpointLoader.load_checkpoint(name)
    assert not os.path.exists('attacked')
    # A file that was refused is fetched again.
    weights = {'backbone.a': torch.randn(2)}
    torch.save(dict(state_dict=weights), folder / 'a.pth')
    for name in names:
        found = CheckpointLoader.load_checkpoint(name)['state_dict']
        key = 'a' if name.startswith('mmcls') else 'backbone.a'
        assert torch.equal(found[key], weights['backbone.a']), name


def test_addresses_that_end_alike_are_kept_apart(served):
    folder, address = served
    for number, name in enumerate(('a.pth', 'other/a.pth')):
        torch.save(
            dict(state_dict=dict(a=torch.tensor(number))), folder / name)
    for _ in range(2):  # From the server, then from the cache.
        for number, name in enumerate(('a.pth', 'other/a.pth')):
            found = CheckpointLoader.load_checkpoint(f'{address}/{name}')
            assert found['state_dict']['a'] == number
            (folder / name).unlink(missing_ok=True)


@pytest.mark.parametrize('name', ['none.pth', 'torchvision://none', 'x://a'])
def test_what_is_not_there_is_named(served, names, name):
    address = name if '://' in name else f'{served[1]}/{name}'
    with pytest.raises(ValueError, match=f"'{address}'.* fix "):
        CheckpointLoader.load_checkpoint(address)


def test_files_at_hubs(tmp_path, monkeypatch):
    """Each is asked for by its name, and only if it is not there yet."""
    weights = {'backbone.a': torch.randn(2)}
    torch.save(weights, tmp_path / 'a.pth')
    asked = []

    def download(repository, file):
        asked.append((repository, file))
        return str(tmp_path / 'a.pth')

    def download_open_clip(cfg):
        asked.append(cfg['hf_hub'])
        return str(tmp_path / 'a.pth')

    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setattr(remote_file, 'hf_hub_download', download)
    monkeypatch.setattr(pretrained, 'download_pretrained', download_open_clip)
    names = ('hf:a/b/c/d.pth', 'open_clip:ViT-B-16-quickgelu/openai',
             'open_clip:ViT-B-16/openai')
    repository = 'timm/vit_base_patch16_clip_224.openai'
    for name in names:
        found = CheckpointLoader.load_checkpoint(name)['state_dict']
        assert torch.equal(found['backbone.a'], weights['backbone.a'])
    assert asked == [('a/b', 'c/d.pth'), f'{repository}/', f'{repository}/']

    # As the hub's package keeps them.
    for name, file in (('a/b', 'c/d.pth'), (repository,
                                            'open_clip_model.safetensors')):
        folder = tmp_path / 'cache' / f"models--{name.replace('/', '--')}"
        path = folder / 'snapshots' / '0' / file
        path.parent.mkdir(parents=True)
        (folder / 'refs').mkdir()
        (folder / 'refs/main').write_text('0')
        torch.save({'backbone.b': torch.ones(1)}, path)
    for name in names:
        found = CheckpointLoader.load_checkpoint(name)['state_dict']
        assert list(found) == ['backbone.b']
    assert len(asked) == 3


@pytest.mark.parametrize('name, words', [
    ('hf:a/b.pth', "'a/b.pth' is not owner/repository/file"),
    ('hf:a/b/c.pth', 'there is no network'),
    ('open_clip:ViT-B-16/laion2b_s34b_b88k', 'trained with GELU'),
    ('open_clip:ViT-B-16-quickgelu/none', 'open_clip has openai, .* for'),
    ('open_clip:none', "open_clip knows no 'none'"),
])
def test_files_that_hubs_do_not_give(tmp_path, monkeypatch, name, words):

    def fail(*args):
        raise ConnectionError('there is no network\nfor many reasons')

    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path))
    monkeypatch.setattr(remote_file, 'hf_hub_download', fail)
    with pytest.raises(
            ValueError,
            match=f"'{name}' cannot be fetched; fix .*{words}") as error:
        CheckpointLoader.load_checkpoint(name)
    assert '\n' not in str(error.value)


def build_runner(cfg, **kwargs):
    return Runner(
        MODELS.build(cfg.model),
        cfg.work_dir,
        cfg=cfg,
        default_scope='mmaction',
        experiment_name=uuid4().hex,
        **kwargs)


def load_for_test(cfg, address):
    load_all_weights(build_runner(cfg), read_weights(address), address)


def start_from(cfg, address):
    build_runner(cfg, load_from=address).load_or_resume()


def resume(cfg, address):
    build_runner(cfg, load_from=address, resume=True).load_or_resume()


def resume_last(cfg, address):
    os.makedirs(cfg.work_dir, exist_ok=True)
    Path(cfg.work_dir, 'last_checkpoint').write_text(address)
    build_runner(cfg, resume=True).load_or_resume()


def initialise(cfg, address):
    cfg.model.init_cfg = dict(type='Pretrained', checkpoint=address)
    MODELS.build(cfg.model).init_weights()


def infer(cfg, address):  # The page too.
    ILAInferencer(cfg, address, 'cpu')


def visualise(cfg, address):
    load_model(cfg, address, 'cpu')


@pytest.fixture(scope='module')
def weights():
    torch.manual_seed(0)
    cfg = Config.fromfile(ROOT / 'tests/data/tiny_motion.py')
    with DefaultScope.overwrite_default_scope('mmaction'):
        return MODELS.build(cfg.model).state_dict()


@pytest.mark.parametrize('load', [
    load_for_test, start_from, resume, resume_last, initialise, infer,
    visualise, load_classifier
])
def test_every_entry_point_refuses_code_and_nan(served, weights, load):
    folder, address = served
    name = 'backbone.image.model.cls_token'
    broken = torch.full_like(weights[name], float('nan'))
    torch.save(
        dict(state_dict={
            **weights, name: broken
        }, meta=dict()), folder / 'nan.pth')
    torch.save(dict(state_dict=weights, meta=Attack()), folder / 'attack.pth')
    for file, message in (('attack', 'holds more than data'),
                          ('nan', f'NaN .*{name}')):
        cfg = Config.fromfile(ROOT / 'tests/data/tiny_motion.py')
        cfg.work_dir = str(folder.parent / 'work')
        with pytest.raises(
                ValueError, match=f'{address}/{file}.pth.*{message}'):
            load(cfg, f'{address}/{file}.pth')
    assert not os.path.exists('attacked')
