"""Models in folders and repositories, which others load."""
import copy
import json
import socket
import sys

import numpy as np
import pytest
import torch
from hub_server import serving_hub
from huggingface_hub import ModelCard, constants
from image_models import IMAGES, OTHERS, stir, with_images
from mmengine.registry import DefaultScope
from tiny import NAMES, TEXT_HEAD, draw_weights, tiny_config
from videos import write_video

from mmaction.registry import MODELS
from projects.ila.apis import ILAInferencer, load_recognizer, read_weights
from projects.ila.models import ILARecognizer
from projects.ila.utils.config_json import read_config

FILES = {'README.md', 'config.json', 'model.safetensors'}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('shared')


@pytest.fixture(scope='module')
def hub(folder):
    with serving_hub(folder) as server:
        yield server


@pytest.fixture(scope='module')
def model(folder):
    """A model whose config names local files."""
    (folder / 'secret.txt').write_text('\n'.join(NAMES))
    (folder / 'templates.txt').write_text('{}\na video of {}\n')
    cfg = tiny_config(**TEXT_HEAD,
                      **{'templates': str(folder / 'templates.txt')})
    cfg.model.cls_head.class_names = str(folder / 'secret.txt')
    cfg.model.init_cfg = dict(
        type='Pretrained', checkpoint=str(folder / 'clip.pt'))
    with DefaultScope.overwrite_default_scope('mmaction'):
        model = MODELS.build(cfg.model)
        model.init_cfg = None
        draw_weights(model)
    model.cfg = cfg
    return model


@pytest.fixture(scope='module')
def saved(model, folder):
    path = folder / 'saved'
    model.save_pretrained(path)
    return path


def outputs(model):
    torch.manual_seed(0)
    with torch.no_grad():
        return model(torch.randn(2, 4, 3, 32, 32))


def test_pushed_model_is_the_same(model, folder, hub):
    """To the bit; nobody learns where its owner's files are."""
    url = model.push_to_hub('owner/tiny', private=True)
    assert url.endswith(f'owner/tiny/commit/{"0" * 40}')
    assert hub.requests[-1]['visibility'] == 'private'
    files = hub.repositories['owner/tiny']
    assert {*files} - {'.gitattributes'} == FILES
    assert b'shared' not in b''.join(files.values())

    again = ILARecognizer.from_pretrained('owner/tiny')
    assert not again.training
    expected, found = outputs(model), outputs(again)
    for name, value in expected.items():
        assert torch.equal(found[name], value), name
    assert again.cls_head.class_names == NAMES
    assert len(again.cls_head.templates) == 2

    write_video(folder / 'a.mp4', 12)
    inferencer = ILAInferencer('hf:owner/tiny', device='cpu')
    result = inferencer.embed(folder / 'a.mp4')['embeddings']
    sample = inferencer.pipeline(
        dict(filename=str(folder / 'a.mp4'), start_index=0, modality='RGB'))
    videos = model.data_preprocessor(
        dict(inputs=[sample['inputs']], data_samples=None))['inputs']
    np.testing.assert_allclose(result, model.encode_video(videos), atol=1e-5)

    # The weights alone, for another config.
    weights = read_weights('hf:owner/tiny')
    assert weights.keys() == model.state_dict().keys()
    hub.asked.clear()
    read_weights('hf:owner/tiny')
    assert not hub.asked


@with_images
def test_image_models_are_the_same(folder, image, monkeypatch):
    """Also those whose config says where their weights were."""
    settings = copy.deepcopy(IMAGES[image])
    if 'timm' in image:
        settings.update(
            pretrained=True, pretrained_cfg_overlay=dict(file='none.pth'))
    kind = MODELS.get(settings['type'])
    width = MODELS.build(settings).out_channels
    model = MODELS.build(
        dict(
            type='ILARecognizer',
            backbone=dict(
                type='ILABackbone',
                image=settings,
                temporal=dict(type=OTHERS[0]),
                layers=[1]),
            cls_head=dict(
                type='ILALinearHead', num_classes=3, in_channels=width)))
    stir(model.eval())
    model.save_pretrained(folder / image)
    with monkeypatch.context() as patch:
        patch.setattr(kind, 'init_weights', None)
        again = ILARecognizer.from_pretrained(folder / image)
    expected, found = outputs(model)['logits'], outputs(again)['logits']
    assert expected.std() > 1e-3 and torch.equal(expected, found)
    assert 'none.pth' not in (folder / image / 'config.json').read_text()


def test_card(model, saved, hub):
    card = ModelCard.load(saved / 'README.md')
    assert card.data.pipeline_tag == 'video-classification'
    assert card.data.license is None
    assert '| temporal module | TokenAlignment, in 2 of 2 blocks |' in card.text
    assert '| frames | 4 |' in card.text
    assert '| classes | 3 (turn left, turn right, grow) |' in card.text
    assert card.text.count('To be filled in') == 3
    assert "ILAInferencer('hf:OWNER/NAME')" in card.text

    known = dict(
        training={'data': 'k400|train.txt'},
        accuracy={'top1': 0.25},
        license='apache-2.0')
    model.push_to_hub('owner/tiny', model_card_kwargs=known)
    card = ModelCard(hub.repositories['owner/tiny']['README.md'].decode())
    assert card.data.license == 'apache-2.0'
    assert '| data | k400&#124;train.txt |' in card.text
    assert '| top1 | 0.2500 |' in card.text
    assert 'To be filled in' not in card.text
    assert "ILAInferencer('hf:owner/tiny')" in card.text
    # That of another model stays another one.
    assert ILARecognizer._hub_mixin_info.model_card_data.license is None


def test_folder_keeps_its_card(model, folder):
    path = folder / 'again'
    path.mkdir()
    (path / 'README.md').write_text('own words')
    model.save_pretrained(path)
    again = ILARecognizer.from_pretrained(path)
    again.save_pretrained(path)
    assert (path / 'README.md').read_text() == 'own words'
    assert {file.name for file in path.iterdir()} == FILES
    with pytest.raises(ValueError, match='has no `model`'):
        (path / 'config.json').write_text('{"a": 1}')
        ILARecognizer.from_pretrained(path)


def write_config(saved, folder, change):
    """Copy a folder with a change of its config."""
    path = folder / 'changed'
    path.mkdir(exist_ok=True)
    cfg = json.loads((saved / 'config.json').read_text())
    change(cfg)
    (path / 'config.json').write_text(json.dumps(cfg))
    weights = path / 'model.safetensors'
    if not weights.exists():
        weights.hardlink_to(saved / 'model.safetensors')
    return path


@pytest.mark.parametrize('kind', [
    'os.system', 'subprocess.Popen', 'code', 'torch.load',
    'projects.ila.cli.load_mmaction_tool', 'projects.ila.cli.sys.exit',
    'projects.ila.compat.Path', 'timm.create_model', 'mmpretrain.TIMMBackbone',
    'Recognizer3D', ['os', 'system'], None
])
def test_no_code_is_run(saved, folder, kind):
    """What is not part of a model is neither built nor imported."""

    def of_model(cfg):
        cfg['model']['neck']['type'] = kind

    def of_pipeline(cfg):
        cfg['test_dataloader']['dataset']['pipeline'][3]['type'] = kind

    for change in of_model, of_pipeline:
        path = write_config(saved, folder, change)
        with pytest.raises(ValueError, match="changed/config.json': `type` "):
            ILAInferencer(str(path), device='cpu')


def test_other_keys_are_not_read(saved, folder):

    def change(cfg):
        cfg['custom_imports'] = dict(imports=['none.such'])
        cfg['_base_'] = ['none.py']
        cfg['load_from'] = 'none.pth'

    path = write_config(saved, folder, change)
    ILAInferencer(str(path), device='cpu')

    path = write_config(saved, folder,
                        lambda cfg: cfg['model'].update(_scope_='mmdet'))
    with pytest.raises(ValueError, match='`_scope_` cannot be shared'):
        ILARecognizer.from_pretrained(path)


def test_storages_are_not_read(saved, folder):
    """That of Memcached would import a module from a folder."""
    (folder / 'mc.py').write_text('raise SystemExit')
    step = dict(io_backend='memcached', server_list_cfg='', client_cfg='')
    other = dict(step, type='DecordInit', sys_path=str(folder))

    def change(cfg):
        cfg['test_dataloader']['dataset']['pipeline'][0].update(step)

    cfg = read_config(str(write_config(saved, folder, change) / 'config.json'))
    assert 'io_backend' not in cfg.test_dataloader.dataset.pipeline[0]

    def change_all(cfg):
        cfg['test_dataloader']['dataset']['pipeline'][0] = other

    path = write_config(saved, folder, change_all)
    write_video(folder / 'a.mp4', 12)
    ILAInferencer(str(path), device='cpu')(str(folder / 'a.mp4'))
    assert str(folder) not in sys.path


@pytest.mark.parametrize('key, value, message', [
    ('class_names', 'secret.txt', "`class_names` is 'secret.txt', which may"),
    ('templates', '{}', "`templates` is '{}', which may"),
    ('prompt', json.loads('[' * 400 + ']' * 400), 'nested more than 32 times'),
])
def test_parts_that_are_refused(saved, folder, key, value, message):
    path = write_config(
        saved, folder, lambda cfg: cfg['model']['cls_head'].update(
            {key: value})) / 'config.json'
    with pytest.raises(ValueError, match=f"changed/config.json': .*{message}"):
        read_config(str(path))


def test_config_json_is_never_run(saved, folder):
    """Not either where its path is given instead of the folder's."""
    (folder / 'evil.py').write_text('raise SystemExit')

    def change(cfg):
        cfg['_base_'] = '../evil.py'

    path = str(write_config(saved, folder, change) / 'config.json')
    assert ILAInferencer(path, device='cpu').weights.endswith('safetensors')
    load_recognizer(path, str(saved))
    path = write_config(
        saved, folder,
        lambda cfg: cfg['test_dataloader']['dataset'].update(pipeline=[1]))
    with pytest.raises(ValueError, match='is no list of transforms'):
        read_config(str(path / 'config.json'))


def test_weights_of_another_model(saved, folder):
    path = write_config(
        saved, folder, lambda cfg: cfg['model']['backbone']['temporal'].update(
            type='ReleasedAlignment'))
    with pytest.raises(ValueError, match='model.safetensors: the weights'):
        ILARecognizer.from_pretrained(path)


def test_what_cannot_be_saved(saved, model, folder):
    deployed = load_recognizer(
        model.cfg.model, str(saved / 'model.safetensors'), deploy=True)
    with pytest.raises(ValueError, match='are folded for inference'):
        deployed.save_pretrained(folder / 'none')
    cfg = tiny_config()
    cfg.model.neck.type = MODELS.get(cfg.model.neck.type)
    cfg.model.backbone.type = MODELS.get(cfg.model.backbone.type)
    with pytest.raises(ValueError, match='write classes by their names'):
        MODELS.build(cfg.model).save_pretrained(folder / 'none')
    assert not (folder / 'none').exists()


def test_errors_of_the_hub(model, hub, folder, monkeypatch):
    """One sentence each, that says what to do."""

    def push(name):
        with pytest.raises(ValueError) as error:
            model.push_to_hub(name)
        assert '\n' not in str(error.value)
        return str(error.value)

    def load(name):
        with pytest.raises(ValueError) as error:
            ILARecognizer.from_pretrained(name)
        assert '\n' not in str(error.value)
        return str(error.value)

    assert 'no such repository, or it is private: log in' in load('owner/none')
    assert 'Repo id must' in load('a/b/c')
    assert "'other/tiny'; fix its name, OWNER/NAME" in push('other/tiny')
    assert 'the hub refuses it: log in' in push('other/tiny')
    assert 'Repo id must' in push('a/b/c')
    monkeypatch.setenv('HF_TOKEN', 'hf_wrong')
    assert 'the hub refuses it: log in' in push('owner/tiny')
    monkeypatch.delenv('HF_TOKEN')
    assert 'needs a token of Hugging' in push('owner/tiny')
    hub.repositories['owner/empty'] = {'README.md': b'text'}
    assert 'config.json' in load('owner/empty')

    monkeypatch.setenv('HF_TOKEN', 'hf_right')
    with socket.socket() as probe:  # Nobody listens there afterwards.
        probe.bind(('127.0.0.1', 0))
        url = f'http://127.0.0.1:{probe.getsockname()[1]}'
    monkeypatch.setattr(constants, 'ENDPOINT', url)
    assert 'there is no connection to the hub: ' in load('owner/other')
    assert 'there is no connection to the hub: ' in push('owner/other')
