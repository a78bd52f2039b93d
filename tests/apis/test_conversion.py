import json
from pathlib import Path

import open_clip
import pytest
import torch
from archives import clip_of, hugging_face_of, save_torchscript
from mmengine import fileio
from mmengine.config import Config, ConfigDict
from mmengine.fileio import BaseStorageBackend
from mmengine.fileio.backends import registry_utils
from reference import DATA, load_reference
from safetensors.torch import save_file
from tiny import TEMPORAL

from mmaction.registry import MODELS
from projects.ila.apis import (clip_to_ila, ila_to_released, load_recognizer,
                               load_released, released_to_ila)
from projects.ila.models import ReleasedAlignment
from projects.ila.weights import (convert_released, hash_weights,
                                  read_checkpoint, write_checkpoint)

ROOT = Path(__file__).resolve().parents[2]


def tiny_cfg(name, temporal='ReleasedAlignment', **cls_head):
    """Config of the model of a tiny reference."""
    info = json.loads((DATA / f'{name}.json').read_text())
    if 'k400' in name:
        head = dict(
            type='ILATextHead',
            in_channels=64,
            patch_channels=128,
            class_names=info['class_names'],
            text_encoder=dict(layers=2))
    else:
        head = dict(
            type='ILALinearHead',
            num_classes=info['num_classes'],
            in_channels=64)
    stem = 'separable' if 'k400' in name else 'dense'
    return ConfigDict(
        type='ILARecognizer',
        backbone=dict(
            type='ILAVisionTransformer',
            arch=dict(
                embed_dims=128,
                num_layers=info['arch']['vision_layers'],
                num_heads=2,
                feedforward_channels=512,
                patch_size=16,
                out_channels=64),
            img_size=info['arch']['image_resolution'],
            temporal=dict(type=temporal, predictor=dict(stem=stem))),
        neck=dict(
            type='MultiframeIntegrationTransformer',
            embed_dims=64,
            num_frames=info['num_frames']),
        cls_head={
            **head,
            **cls_head
        })


def load(cfg, checkpoint):
    model = MODELS.build(cfg).eval()
    model.load_state_dict(checkpoint['state_dict'])
    return model


@pytest.mark.parametrize('name', ['k400_tiny_t4_s0', 'ssv2_tiny_t4_s0'])
@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_released_checkpoint_gives_its_logits_and_comes_back(
        tmp_path, name, suffix):
    _, weights, video, expected = load_reference(name)
    source, target = str(tmp_path / 'a.pth'), str(tmp_path / f'b{suffix}')
    torch.save(dict(model=weights, epoch=49, max_accuracy=80.), source)
    cfg = tiny_cfg(name)

    checkpoint, report = released_to_ila(cfg, source)
    assert report.missing == report.left_over == []
    assert len(report.matched) == len(weights)
    write_checkpoint(target, checkpoint)
    with torch.no_grad():
        logits = load(cfg, read_checkpoint(target))(video)['logits']
    torch.testing.assert_close(
        logits,
        expected['logits'],
        rtol=0,
        atol=1e-4 * expected['logits'].max())

    back, report = ila_to_released(cfg, target)
    assert back['model'].keys() == weights.keys()
    for key, value in weights.items():
        assert torch.equal(back['model'][key], value), key
    kept = {'cls_head.texts', 'cls_head.text_features'}
    assert set(report.left_over) == (kept if 'k400' in name else set())
    # What it is for: the released checkpoint's format.
    again = load_released(back['model'],
                          name.split('_')[0], cfg.cls_head.get('class_names'))
    with torch.no_grad():
        assert torch.equal(again(video)['logits'], logits)


@pytest.mark.parametrize('name', ['k400_tiny_t4_s0', 'ssv2_tiny_t4_s0'])
def test_first_layer_is_that_of_the_file(tmp_path, name):
    """A config with the other one converts the checkpoint, and back.

    The type of its temporal module may be the class itself.
    """
    _, weights, video, expected = load_reference(name)
    source, target = str(tmp_path / 'a.pth'), str(tmp_path / 'b.pth')
    torch.save(dict(model=weights), source)
    cfg = tiny_cfg(name)
    cfg.backbone.temporal.type = ReleasedAlignment
    predictor = cfg.backbone.temporal.predictor
    predictor.stem = 'dense' if 'k400' in name else 'separable'
    before = cfg.to_dict()
    for path in (source, target):
        model = load_recognizer(cfg, path)
        with torch.no_grad():
            logits = model(video)['logits']
        torch.testing.assert_close(
            logits,
            expected['logits'],
            rtol=0,
            atol=1e-4 * expected['logits'].abs().max())
        write_checkpoint(target, released_to_ila(cfg, source)[0])
    back, _ = ila_to_released(cfg, target)
    assert back['model'].keys() == weights.keys()
    assert cfg.to_dict() == before


def test_unused_rows_of_the_head_are_left_out(tmp_path):
    """Only of 400, and only for 174 classes."""
    weights = load_reference('ssv2_tiny_t4_s0')[1]
    head = torch.randn(400, 64), torch.randn(400)
    names = [f'mit.classify_head.2.{key}' for key in ('weight', 'bias')]
    path = str(tmp_path / 'a.pth')
    for rows, classes, fits in ((400, 174, True), (400, 400, True),
                                (400, 173, False), (399, 174, False)):
        weights.update(zip(names, (part[:rows] for part in head)))
        torch.save(dict(model=weights), path)
        cfg = tiny_cfg('ssv2_tiny_t4_s0', num_classes=classes)
        if not fits:
            with pytest.raises(ValueError, match=r'a.pth: .*cls_head.fc.\w+'):
                released_to_ila(cfg, path)
            with pytest.raises(ValueError, match=r'a.pth: .*cls_head.fc.\w+'):
                load_recognizer(cfg, path)
            continue
        checkpoint, report = released_to_ila(cfg, path)
        assert report.left_over == []
        fc = load_recognizer(cfg, path).cls_head.fc
        assert torch.equal(fc.weight, head[0][:classes])
        assert torch.equal(fc.bias, head[1][:classes])
        for key, value in fc.state_dict().items():
            assert torch.equal(checkpoint['state_dict'][f'cls_head.fc.{key}'],
                               value)


def test_openai_archive_of_full_size_fits_the_config(tmp_path):
    info = json.loads((DATA / 'k400_b32_t8_s0.json').read_text())
    clip = clip_of({
        name: torch.zeros(shape)
        for name, shape in info['state_dict'].items()
    })
    save_torchscript(clip, tmp_path / 'ViT-B-32.pt')
    cfg = Config.fromfile(ROOT / 'configs/ila_vitb32_16f_k400.py').model
    _, report = clip_to_ila(cfg, str(tmp_path / 'ViT-B-32.pt'))
    assert len(report.matched) == len(clip) == 302
    assert report.left_over == []


def test_metadata(tmp_path):
    name = 'k400_tiny_t4_s0'
    source = tmp_path / 'a.pth'
    torch.save(dict(model=load_reference(name)[1]), source)
    checkpoint, _ = released_to_ila(tiny_cfg(name), str(source))
    meta = checkpoint['meta']['ila']
    assert meta.pop('weights_sha256') == hash_weights(checkpoint['state_dict'])
    assert len(meta.pop('source_sha256')) == 64
    assert meta == dict(
        source='a.pth',
        temporal='ReleasedAlignment',
        arch=dict(
            embed_dims=128,
            num_layers=3,
            num_heads=2,
            feedforward_channels=512,
            patch_size=16,
            out_channels=64),
        img_size=64,
        num_frames=4,
        num_classes=len(meta['class_names']),
        class_names=json.loads(
            (DATA / f'{name}.json').read_text())['class_names'])


@pytest.fixture(scope='module')
def clip():
    return clip_of(load_reference('k400_tiny_t4_s0')[1])


SAVERS = dict(
    archive=('a.pt', save_torchscript),
    state_dict=('a.pt', torch.save),
    open_clip=('a.pt', lambda weights, path: torch.save(
        dict(
            epoch=1,
            name='x',
            state_dict={
                f'module.{k}': v
                for k, v in weights.items()
            }), path)),
    open_clip_safetensors=('a.safetensors', save_file),
    hugging_face=(
        'a.safetensors',
        lambda weights, path: save_file(hugging_face_of(weights), path)),
)


@pytest.mark.parametrize('kind', SAVERS)
@pytest.mark.parametrize('temporal', TEMPORAL)
def test_clip_files_fill_clips_part(clip, tmp_path, kind, temporal):
    name, save = SAVERS[kind]
    save(clip, tmp_path / name)
    checkpoint, report = clip_to_ila(
        tiny_cfg('k400_tiny_t4_s0', temporal), str(tmp_path / name))
    expected = convert_released(clip)
    assert set(report.matched) == expected.keys()
    assert report.left_over == []
    assert report.missing and all(
        key.startswith(('neck.', 'cls_head.prompt.', 'backbone.temporal.'))
        for key in report.missing)
    tolerance = 1e-3 if kind == 'archive' else 0
    for key, value in expected.items():
        assert checkpoint['state_dict'][key].dtype == torch.float32
        torch.testing.assert_close(
            checkpoint['state_dict'][key],
            value,
            rtol=tolerance,
            atol=tolerance)


def test_clip_file_starts_a_model_without_alignment_and_neck(clip, tmp_path):
    torch.save(clip, tmp_path / 'a.pt')
    cfg = tiny_cfg('k400_tiny_t4_s0')
    cfg.backbone.temporal = dict(
        type='projects.ila.models.temporal.comparisons.DividedAttention')
    cfg.neck = None
    checkpoint, report = clip_to_ila(cfg, str(tmp_path / 'a.pt'))
    meta = checkpoint['meta']['ila']
    assert meta['temporal'] == 'DividedAttention'
    assert meta['num_frames'] is None
    assert set(report.matched) == convert_released(clip).keys()
    assert any('backbone.temporal.' in name for name in report.missing)
    assert all(
        name.startswith(('backbone.temporal.', 'cls_head.prompt.'))
        for name in report.missing)


def test_linear_model_leaves_the_text_tower_over(clip, tmp_path):
    torch.save(clip, tmp_path / 'a.pt')
    _, report = clip_to_ila(
        tiny_cfg('ssv2_tiny_t4_s0'), str(tmp_path / 'a.pt'))
    assert report.left_over and all(
        key.startswith('cls_head.') for key in report.left_over)
    lines = str(report).splitlines()
    assert lines[0] == f'matched   {len(report.matched):5}'
    assert '      3 x backbone.image.model.layers.*.ln1.weight' in lines


@pytest.fixture(scope='module')
def open_clip_model():
    torch.manual_seed(0)
    return open_clip.CLIP(
        64,
        vision_cfg=dict(
            layers=2, width=128, head_width=64, patch_size=16, image_size=64),
        text_cfg=dict(width=64, heads=1, layers=2),
        quick_gelu=True).eval()


def test_initial_model_equals_open_clip(open_clip_model, tmp_path):
    """ILA's additions start from zero in `ReleasedAlignment`."""
    path = str(tmp_path / 'open_clip.safetensors')
    save_file(open_clip_model.state_dict(), path)
    cfg = tiny_cfg('k400_tiny_t4_s0')
    cfg.backbone.arch.num_layers = 2
    # As a config takes a CLIP file.
    cfg.init_cfg = dict(type='Pretrained', checkpoint=path)
    model = MODELS.build(cfg).eval()
    model.init_weights()
    frames = torch.randn(4, 3, 64, 64)
    with torch.no_grad():
        features = model.backbone(frames.transpose(0, 1)[None])
        torch.testing.assert_close(
            features.frames[0],
            open_clip_model.encode_image(frames),
            rtol=1e-4,
            atol=1e-5)
        torch.testing.assert_close(
            model.cls_head.text_features,
            open_clip_model.encode_text(
                open_clip.tokenize(cfg.cls_head.class_names)),
            rtol=1e-4,
            atol=1e-5)
    assert torch.equal(model.encode_text('run'), model.encode_text(['run']))


def test_backbone_alone_takes_a_clip_file(clip, tmp_path):
    save_torchscript(clip, tmp_path / 'a.pt')
    cfg = tiny_cfg('k400_tiny_t4_s0', 'TokenAlignment').backbone
    cfg.img_size = 96
    cfg.init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'a.pt'))
    backbone = MODELS.build(cfg)
    backbone.init_weights()
    weights = backbone.state_dict()
    assert weights['image.model.pos_embed'].shape == (1, 37, 128)
    for key, value in convert_released(clip).items():
        name = key.partition('backbone.')[2]
        if name and name != 'image.model.pos_embed':
            torch.testing.assert_close(weights[name], value.half().float())

    cfg.arch.num_layers = 2
    with pytest.raises(
            ValueError, match=r'a\.pt.*lacks \(backbone.image.model.layers.2'):
        MODELS.build(cfg).init_weights()


def test_released_code_reads_no_safetensors(tmp_path):
    target = str(tmp_path / 'a.safetensors')
    with pytest.raises(ValueError, match='a.safetensors.*end its name'):
        write_checkpoint(target, dict(model=dict(), meta=dict(ila=dict())))


def test_position_embeddings_are_interpolated(clip, tmp_path):
    torch.save(clip, tmp_path / 'a.pt')
    cfg = tiny_cfg('k400_tiny_t4_s0')
    cfg.backbone.img_size = 96
    checkpoint, _ = clip_to_ila(cfg, str(tmp_path / 'a.pt'))
    positions = checkpoint['state_dict']['backbone.image.model.pos_embed']
    original = clip['visual.positional_embedding']
    grid = original[1:].T.view(1, -1, 4, 4)
    expected = torch.nn.functional.interpolate(
        grid, size=(6, 6), mode='bicubic', align_corners=False)
    torch.testing.assert_close(positions[0, 0], original[0])
    torch.testing.assert_close(positions[0, 1:], expected.flatten(2)[0].T)


def change(cfg, path, value):
    *parents, key = path.split('.')
    for parent in parents:
        cfg = cfg[parent]
    cfg[key] = value


@pytest.mark.parametrize('convert, source, target, changes, message', [
    (clip_to_ila, 'k400', 'k400', {}, 'a.pth: these are not weights of CLIP'),
    (clip_to_ila, 'clip', 'k400', {
        'backbone.arch.patch_size': 8
    }, r'a.pth: .*patch_embed.*fix `arch`'),
    (clip_to_ila, 'clip', 'k400', {
        'backbone.arch.num_layers': 2
    }, 'a.pth: .*that it lacks'),
    (released_to_ila, 'clip', 'k400', {},
     'a.pth: these are not weights of the'),
    (released_to_ila, 'ssv2', 'k400', {}, 'a.pth: the weights lack'),
    (released_to_ila, 'k400', 'ssv2', {}, 'a.pth: the weights lack'),
    (released_to_ila, 'k400', 'k400', {
        'backbone.temporal.type': 'TokenAlignment'
    }, "a.pth: .* temporal modules .*fix .*'ReleasedAlignment'"),
    (released_to_ila, 'k400', 'k400', {
        'neck.num_frames': 8
    }, 'a.pth: .*neck.pos_embed.*number of frames'),
    (released_to_ila, 'k400', 'k400', {
        'backbone.img_size': 96
    }, 'a.pth: .*backbone.image.model.pos_embed.*image size'),
    (ila_to_released, 'k400', 'k400', {}, 'a.pth: the weights lack'),
])
def test_wrong_files_are_named(tmp_path, convert, source, target, changes,
                               message):
    kind = 'k400' if source == 'clip' else source
    weights = load_reference(f'{kind}_tiny_t4_s0')[1]
    if source == 'clip':
        weights = clip_of(weights)
    path = tmp_path / 'a.pth'
    torch.save(dict(model=weights), path)
    cfg = tiny_cfg(f'{target}_tiny_t4_s0')
    for key, value in changes.items():
        change(cfg, key, value)
    with pytest.raises(ValueError, match=message):
        convert(cfg, str(path))


@pytest.mark.parametrize('changes', [
    {
        'backbone.temporal.type': 'TokenAlignment'
    },
    {
        'backbone.temporal.predictor.channels': 64
    },
    {
        'backbone.temporal.target': 'first'
    },
    {
        'backbone.layers': [0]
    },
])
def test_released_code_has_no_such_model(tmp_path, changes):
    cfg = tiny_cfg('k400_tiny_t4_s0')
    for key, value in changes.items():
        change(cfg, key, value)
    path = tmp_path / 'a.pth'
    torch.save(MODELS.build(cfg).state_dict(), path)
    with pytest.raises(ValueError, match='this one cannot run there'):
        ila_to_released(cfg, str(path))


def test_files_in_other_storages(tmp_path, monkeypatch):

    class Storage(BaseStorageBackend):

        def get(self, path):
            return (tmp_path / path.split('/')[-1]).read_bytes()

        def get_text(self, path):
            raise NotImplementedError

    # MMEngine keeps those that it made.
    monkeypatch.setattr(fileio.io, 'backend_instances', {})
    monkeypatch.setitem(registry_utils.prefix_to_backends, 's3', Storage)
    name = 'ssv2_tiny_t4_s0'
    torch.save(dict(model=load_reference(name)[1]), tmp_path / 'a.pth')
    found, _ = released_to_ila(tiny_cfg(name), 's3://bucket/a.pth')
    expected, _ = released_to_ila(tiny_cfg(name), str(tmp_path / 'a.pth'))
    assert found['meta'] == expected['meta']
    with pytest.raises(ValueError, match="'x://a.pth' cannot be .* 'x://'"):
        clip_to_ila(tiny_cfg(name), 'x://a.pth')
