"""Checkpoints that are named by a URL or by a model's name."""
import functools
import http.server
import os
import re
import sys
import threading
import time
import types
from pathlib import Path
from uuid import uuid4

import pytest
import torch
from hub_server import serving_hub
from huggingface_hub import constants
from mmengine import fileio
from mmengine.config import Config
from mmengine.fileio import BaseStorageBackend
from mmengine.fileio.backends import registry_utils
from mmengine.registry import DefaultScope
from mmengine.runner import CheckpointLoader, Runner
from mmengine.runner import checkpoint as hub

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
    """A folder whose files are at a URL."""
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
    folder, url = served
    tables = dict(
        get_torchvision_models=dict(a=f'{url}/a.pth'),
        get_external_models=dict(a=f'{url}/a.pth'),
        get_deprecated_model_names=dict(old='a'),
        get_mmcls_models=dict(a=f'{url}/a.pth'))
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
        str(folder / 'a.pth'), f'{url}/a.pth', 'torchvision://a',
        'modelzoo://a', 'open-mmlab://a', 'openmmlab://old', 'mmcls://a',
        's3://bucket/a.pth', 'petrel://bucket/a.pth', 'x:s3://bucket/a.pth',
        'x:petrel://bucket/a.pth', 'pavi://folder/a.pth'
    ]


def test_every_scheme_reads_data_and_no_code(served, names):
    folder, url = served
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
    folder, url = served
    for number, name in enumerate(('a.pth', 'other/a.pth')):
        torch.save(
            dict(state_dict=dict(a=torch.tensor(number))), folder / name)
    for _ in range(2):  # From the server, then from the cache.
        for number, name in enumerate(('a.pth', 'other/a.pth')):
            found = CheckpointLoader.load_checkpoint(f'{url}/{name}')
            assert found['state_dict']['a'] == number
            (folder / name).unlink(missing_ok=True)


@pytest.mark.parametrize('name', ['none.pth', 'torchvision://none', 'x://a'])
def test_what_is_not_there_is_named(served, names, name):
    url = name if '://' in name else f'{served[1]}/{name}'
    with pytest.raises(ValueError, match=f"'{url}'.* fix "):
        CheckpointLoader.load_checkpoint(url)


# A name for each hub, with the repository and the file that it stands for.
OF_OPENAI = 'timm/vit_base_patch16_clip_224.openai'
AT_HUBS = {
    'hf:a/b/c/d.pth': ('a/b', 'c/d.pth'),
    'open_clip:ViT-B-16-quickgelu/openai':
    (OF_OPENAI, 'open_clip_model.safetensors'),
    'open_clip:ViT-B-16/openai': (OF_OPENAI, 'open_clip_model.safetensors'),
    'timm:vit_base_patch16_clip_224.openai': (OF_OPENAI, 'model.safetensors'),
    'timm:vit_base_patch16_clip_224.laion2b':
    ('timm/vit_base_patch16_clip_224.laion2b', 'model.safetensors'),
    'timm:vit_small_patch14_dinov2':
    ('timm/vit_small_patch14_dinov2.lvd142m', 'pytorch_model.bin')
}


@pytest.mark.parametrize('rank, local_rank, order', [
    (0, None, ['fetch', 'barrier']),
    (1, None, ['barrier', 'fetch']),
    (2, 0, ['fetch', 'barrier']),
    (3, 1, ['barrier', 'fetch']),
])
def test_first_process_of_each_machine_fetches(monkeypatch, rank, local_rank,
                                               order):
    calls = []
    if local_rank is None:
        monkeypatch.delenv('LOCAL_RANK', False)
    else:
        monkeypatch.setenv('LOCAL_RANK', str(local_rank))
    monkeypatch.setattr(remote_file, 'get_dist_info', lambda: (rank, 4))
    monkeypatch.setattr(torch.distributed, 'barrier',
                        lambda: calls.append('barrier'))
    assert remote_file.fetch_in_turn(
        lambda: calls.append('fetch') or 'path') == 'path'
    assert calls == order


def test_files_at_hubs(tmp_path):
    """Each is asked for by its name, and only if it is not there yet."""
    with serving_hub(tmp_path) as server:
        values = {
            place: torch.full((1, ), float(number))
            for number, place in enumerate(dict.fromkeys(AT_HUBS.values()))
        }
        for (repository, file), value in values.items():
            torch.save({'backbone.a': value}, tmp_path / 'weights.pth')
            server.repositories.setdefault(
                repository,
                dict())[file] = (tmp_path / 'weights.pth').read_bytes()
        for _ in range(2):
            for name, place in AT_HUBS.items():
                found = CheckpointLoader.load_checkpoint(name)['state_dict']
                assert torch.equal(found['backbone.a'], values[place]), name
            # Now they are there.
            server.repositories.clear()
        assert len(server.asked) == 3 * len(values)


@pytest.mark.parametrize('name, words', [
    ('hf:a', "'a' is neither owner/repository/file nor owner/repository"),
    ('hf:a/b/c.pth', 'there is no such repository, or it is private: log in'),
    ('hf:c/d', "'c/d' has no file model.safetensors"),
    ('open_clip:ViT-B-16/laion2b_s34b_b88k', 'trained with GELU'),
    ('open_clip:ViT-B-16-quickgelu/none', 'open_clip has openai, .* for'),
    ('open_clip:none', "open_clip knows no 'none'"),
    ('timm:none', "timm has no weights of 'none'"),
    ('timm:vit_base_patch16_clip_224.none', r'Invalid pretrained tag \(none'),
])
def test_files_that_hubs_do_not_give(tmp_path, name, words):
    with serving_hub(tmp_path) as server:
        server.repositories['c/d'] = dict(text=b'')
        with pytest.raises(
                ValueError,
                match=f"'{name}' cannot be fetched; fix .*{words}") as error:
            CheckpointLoader.load_checkpoint(name)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('name', AT_HUBS)
def test_nothing_is_tried_again_without_network(tmp_path, monkeypatch, name):

    def wait(seconds):
        raise AssertionError(seconds)

    monkeypatch.setattr(time, 'sleep', wait)
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path))
    # Nobody listens there.
    monkeypatch.setattr(constants, 'ENDPOINT', 'http://127.0.0.1:9')
    with pytest.raises(
            ValueError,
            match=f"'{name}' cannot be .*no connection to the hub: "):
        CheckpointLoader.load_checkpoint(name)


def build_runner(cfg, **kwargs):
    return Runner(
        MODELS.build(cfg.model),
        cfg.work_dir,
        cfg=cfg,
        default_scope='mmaction',
        experiment_name=uuid4().hex,
        **kwargs)


def load_for_test(cfg, url):
    load_all_weights(build_runner(cfg), read_weights(url), url)


def start_from(cfg, url):
    build_runner(cfg, load_from=url).load_or_resume()


def resume(cfg, url):
    build_runner(cfg, load_from=url, resume=True).load_or_resume()


def resume_last(cfg, url):
    os.makedirs(cfg.work_dir, exist_ok=True)
    Path(cfg.work_dir, 'last_checkpoint').write_text(url)
    build_runner(cfg, resume=True).load_or_resume()


def initialise(cfg, url):
    cfg.model.init_cfg = dict(type='Pretrained', checkpoint=url)
    MODELS.build(cfg.model).init_weights()


def infer(cfg, url):  # The page too.
    ILAInferencer(cfg, url, 'cpu')


def visualise(cfg, url):
    load_model(cfg, url, 'cpu')


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
    folder, url = served
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
        with pytest.raises(ValueError, match=f'{url}/{file}.pth.*{message}'):
            load(cfg, f'{url}/{file}.pth')
    assert not os.path.exists('attacked')
