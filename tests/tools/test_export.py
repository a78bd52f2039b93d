"""Exported files of tiny models, written and tested by the tools."""
import json
import math
import pickle
import shutil
import sys
from importlib.util import find_spec

import pytest
import torch
from commands import ROOT, once
from mmengine.config import Config
from mmengine.registry import DefaultScope
from modules import load_module
from torch import nn

from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from projects.ila.apis import deployment
from projects.ila.apis import exported as exported_files
from projects.ila.datasets.motion import make_dataset

NAMES = ['left', 'right', 'up', 'down', 'grow']
HEADS = dict(
    linear='dict(num_classes=5, init_std=1.)',
    text=f"""dict(
        _delete_=True, type='ILATextHead', in_channels=16, patch_channels=32,
        class_names={NAMES}, text_encoder=dict(layers=1),
        prompt=dict(scale=0.1))""")
HAS_ONNX = all(map(find_spec, deployment.ONNX_PACKAGES))
needs_onnx = pytest.mark.skipif(
    not HAS_ONNX, reason=f'needs {", ".join(deployment.ONNX_PACKAGES)}')

export = load_module(ROOT / 'tools/deployment/export.py')
evaluate = load_module(ROOT / 'tools/deployment/test.py')


def run(tool, *arguments):
    """Run a tool in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'argv', [tool.__file__, *map(str, arguments)])
        tool.main()


def write_config(folder, form, head, extra=''):
    path = folder / f'{form}_{head}.py'
    path.write_text(f"""
_base_ = ['{ROOT}/tests/data/tiny_motion.py']
model = dict(
    backbone=dict(
        temporal=dict(type='{form}'),
        arch=dict(num_layers=1),
        # One has frames that are smaller than those it was made for.
        img_size={48 if form == 'TokenAlignment' else 32}),
    cls_head={HEADS[head]})
crops = [
    dict(type='SafePyAVInit'),
    dict(type='UniformSample', clip_len=4, num_clips=2, test_mode=True),
    dict(type='SafePyAVDecode'),
    dict(type='Resize', scale=(32, 32), keep_ratio=False),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs')
]
test_dataloader = dict(dataset=dict(pipeline=crops))
{extra}
""")
    return path


def build(config):
    """Build a model whose every part matters for its logits."""
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmaction'):
        model = MODELS.build(Config.fromfile(config).model)
    model.init_weights()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=parameter[0].numel()**-0.5)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.running_mean, std=0.1)
            nn.init.uniform_(norm.running_var, 0.5, 1.5)
    return model.eval()


def draw_clips(batch):
    """Draw clips of smooth noise that moves, uint8 (B, 3, T, H, W)."""
    torch.manual_seed(1)
    noise = nn.functional.interpolate(
        torch.rand(batch, 3, 4, 4), size=(32, 48), mode='bicubic')
    frames = [noise[..., 4 * t:4 * t + 32] for t in range(4)]
    return (255 * torch.stack(frames, dim=2)).clamp(0, 255).byte()


def predict(model, clips):
    """Predict clips as the views of one video, by the original model."""
    model.cls_head.average_clips = None
    data = dict(inputs=[clips], data_samples=[ActionDataSample()])
    with torch.no_grad():
        sample, = model.test_step(data)
    return sample.pred_score


def export_model(folder, form, head):
    """Write a model's config, checkpoint and files into a folder."""
    config, checkpoint = write_config(folder, form, head), folder / 'a.pth'
    model = build(config)
    torch.save(dict(state_dict=model.state_dict()), checkpoint)
    with pytest.MonkeyPatch.context() as patch:
        # Tracing takes its time, and all are files of one model.
        patch.setattr(deployment, 'trace', once(deployment.trace))
        patch.setattr(torch.onnx, 'export', once(torch.onnx.export))
        if HAS_ONNX:
            run(export, config, checkpoint, '--out', folder / 'a.onnx')
            run(export, config, checkpoint, '--out', folder / 'int8.onnx',
                '--int8')
            # The tool does not keep it on processors without VNNI.
            classifier, meta = deployment.load_classifier(
                Config.fromfile(config), str(checkpoint))
            deployment.write_onnx(
                deployment.trace(classifier, meta),
                dict(meta, precision='int8-full'), str(folder / 'full.onnx'))
        run(export, config, checkpoint, '--out', folder / 'a.pt2')
    assert not list(folder.glob('*.partial'))
    return model, folder


@pytest.fixture(scope='module')
def token_text(tmp_path_factory):
    return export_model(
        tmp_path_factory.mktemp('exported'), 'TokenAlignment', 'text')


@pytest.fixture(scope='module')
def released_linear(tmp_path_factory):
    return export_model(
        tmp_path_factory.mktemp('exported'), 'ReleasedAlignment', 'linear')


# Form and head do not depend on each other.
@pytest.fixture(params=['token_text', 'released_linear'])
def exported(request):
    """A model and the folder with its config, checkpoint and files."""
    return request.getfixturevalue(request.param)


def check_logits(model, path):
    run_file, _ = exported_files.load_exported(str(path))
    for batch in (1, 3):
        clips = draw_clips(batch)
        expected = predict(model, clips)
        assert expected.shape == (batch, 5)
        torch.testing.assert_close(
            run_file(clips), expected, rtol=1e-4, atol=1e-4)


def test_logits_of_program_equal_pytorch(exported):
    model, folder = exported
    check_logits(model, folder / 'a.pt2')


@needs_onnx
def test_logits_of_onnx_equal_pytorch(exported):
    model, folder = exported
    check_logits(model, folder / 'a.onnx')


def test_model_without_neck(tmp_path):
    config = write_config(tmp_path, 'TokenAlignment', 'linear',
                          'model.update(neck=None)')
    model = build(config)
    assert not model.with_neck
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'a.pth')
    run(export, config, tmp_path / 'a.pth', '--out', tmp_path / 'a.pt2')
    check_logits(model, tmp_path / 'a.pt2')


@needs_onnx
def test_int8_predicts_the_same_classes(released_linear):
    import onnx
    model, folder = released_linear
    nodes = onnx.load(folder / 'int8.onnx').graph.node
    assert any(node.op_type == 'MatMulInteger' for node in nodes)
    run_file, _ = exported_files.load_exported(str(folder / 'int8.onnx'))
    clips = draw_clips(64)
    logits, expected = run_file(clips), predict(model, clips)
    classes = expected.argmax(1)
    assert len(set(classes.tolist())) > 1
    # Rounding decides where two classes are as likely.
    assert (logits.argmax(1) == classes).float().mean() > 0.9
    error = (logits - expected).abs().max() / expected.abs().max()
    assert 0 < error < 0.1


@needs_onnx
def test_int8_of_heat_maps(tmp_path):
    config = write_config(
        tmp_path, 'TokenAlignment', 'linear',
        "model['backbone']['temporal']['predictor'] = dict("
        "type='HeatMapPredictor')")
    model = build(config)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'a.pth')
    for options, tolerance in (('--int8', ), 0.1), ((), 1e-4):
        run(export, config, tmp_path / 'a.pth', '--out', tmp_path / 'a.onnx',
            *options)
        run_file, _ = exported_files.load_exported(str(tmp_path / 'a.onnx'))
        clips = draw_clips(8)
        # Nothing moves in the last ones, of which one is black.
        clips[6:] = clips[6:, :, :1]
        clips[7] = 0
        logits, expected = run_file(clips), predict(model, clips)
        difference = (logits - expected).abs().max()
        assert difference < tolerance * expected.abs().max()


@needs_onnx
@pytest.mark.parametrize('name, bits', [('int8', 7), ('full', 8)])
def test_bits_of_weights(exported, name, bits):
    """7 bits do not saturate in 16 bits; 8 need a processor with VNNI."""
    import onnx
    _, folder = exported
    weights = [
        onnx.numpy_helper.to_array(tensor)
        for tensor in onnx.load(folder / f'{name}.onnx').graph.initializer
        if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) == 2
    ]
    assert weights
    largest = max(abs(weight.astype(int)).max() for weight in weights)
    # Two products of an unsigned 8-bit input are added in 16 bits.
    assert (2 * 255 * largest < 2**15) == (bits == 7)
    assert 2**(bits - 1) // 2 < largest < 2**(bits - 1) + 1


@needs_onnx
def test_onnx_file_alone(exported):
    """What a user sees who has nothing but ONNX Runtime."""
    import onnxruntime
    model, folder = exported
    session = onnxruntime.InferenceSession(folder / 'a.onnx')
    clips, = session.get_inputs()
    assert (clips.name, clips.type) == ('clips', 'tensor(uint8)')
    assert clips.shape == ['batch', 3, 4, 32, 32]
    logits, = session.get_outputs()
    assert (logits.name, logits.shape) == ('logits', ['batch', 5])
    text = session.get_modelmeta().custom_metadata_map['ila']
    check_metadata(json.loads(text), model)
    # Neither the text tower nor this machine's paths are in it.
    content = (folder / 'a.onnx').read_bytes()
    assert len(content) < 1e6 and bytes(ROOT) not in content


@needs_onnx
def test_onnx_files_that_name_others(exported, tmp_path):
    """No other file is read, wherever it is; nor is wrong metadata used."""
    import onnx
    _, folder = exported
    model = onnx.load(folder / 'a.onnx')
    path = tmp_path / 'a.onnx'
    text = model.metadata_props[0].value
    for wrong in ('[]', '{}',
                  text.replace('"num_frames": 4', '"num_frames": "4"')):
        model.metadata_props[0].value = wrong
        onnx.save(model, path)
        with pytest.raises(ValueError, match="a.onnx' cannot be read"):
            exported_files.load_exported(str(path))
    model.metadata_props[0].value = text
    onnx.save(model, path)
    exported_files.load_exported(str(path))
    weight = max(
        model.graph.initializer, key=lambda weight: len(weight.raw_data))
    content = weight.raw_data
    (tmp_path / 'data').write_bytes(content)
    for place in ('data', '../data', str(tmp_path / 'data'), '/etc/passwd'):
        weight.raw_data = content
        onnx.external_data_helper.set_external_data(weight, place)
        weight.ClearField('raw_data')
        path.write_bytes(model.SerializeToString())
        with pytest.raises(ValueError, match="a.onnx' .*names other files"):
            exported_files.load_exported(str(path))


def test_program_alone(exported):
    """What a user sees who has nothing but PyTorch."""
    model, folder = exported
    extra_files = dict(ila='')
    program = torch.export.load(folder / 'a.pt2', extra_files=extra_files)
    check_metadata(json.loads(extra_files['ila']), model)
    logits = program.module()(draw_clips(2))
    assert logits.shape == (2, 5)
    content = (folder / 'a.pt2').read_bytes()
    assert len(content) < 1e6 and bytes(ROOT) not in content


def check_metadata(meta, model):
    head = model.cls_head
    assert meta == dict(
        source='a.pth',
        config=meta['config'],
        temporal=model.backbone.temporal_type,
        arch=model.backbone.image.arch_settings,
        num_frames=4,
        img_size=32,
        channels='RGB',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        num_classes=5,
        class_names=NAMES if hasattr(head, 'class_names') else None,
        templates=['{}'] if hasattr(head, 'class_names') else None,
        precision='float32')


@pytest.fixture(scope='module')
def tiny(token_text, tmp_path_factory):
    """The folder of a model with videos to test it on."""
    folder = tmp_path_factory.mktemp('tiny')
    make_dataset(folder / 'data', 10, 10, seed=0, num_frames=8, size=64)
    lines = (folder / 'data/val.txt').read_text().splitlines()
    (folder / 'val.txt').write_text(''.join(
        f'{name} {int(label) % 5}\n'
        for name, label in (line.split() for line in lines)))
    write_config(
        folder, 'TokenAlignment', 'text', f"""
work_dir = '{folder}/work'
test_dataloader = dict(batch_size=4, dataset=dict(
    ann_file='{folder}/val.txt', num_classes=5, pipeline=crops,
    data_prefix=dict(video='{folder}/data/videos')))
""")
    for name in ('a.pth', 'a.pt2'):
        shutil.copy(token_text[1] / name, folder)
    return folder


def test_test_gives_the_figures_of_the_checkpoint(tiny, capfd):
    run(
        load_module(ROOT / 'tools/test.py'), tiny / 'TokenAlignment_text.py',
        tiny / 'a.pth', '--dump', tiny / 'pytorch.pkl', '--work-dir',
        tiny / 'pytorch')
    run(evaluate, tiny / 'TokenAlignment_text.py', tiny / 'a.pt2', '--dump',
        tiny / 'exported.pkl')
    figures = [
        json.loads(next(tiny.glob(f'{folder}/*/[0-9]*.json')).read_text())
        for folder in ('pytorch', 'work')
    ]
    assert 'acc/top1' in figures[0]
    for name in filter(lambda name: name.startswith('acc'), figures[0]):
        assert figures[0][name] == figures[1][name]
    results = [
        pickle.loads((tiny / f'{name}.pkl').read_bytes())
        for name in ('pytorch', 'exported')
    ]
    assert len(results[0]) == len(results[1]) == 10
    for own, other in zip(*results):
        torch.testing.assert_close(own['pred_score'], other['pred_score'])
        assert own['gt_label'] == other['gt_label']


@pytest.mark.parametrize('output, options, message', [
    ('a.pth', [], "a.pth: give a name that ends in .onnx or .pt2$"),
    ('a.pt2', ['--int8'], 'a.pt2: --int8 needs a name that ends in .onnx$'),
    ('a.onnx', ['--full-range'], '--full-range needs --int8$'),
    ('b.pt2', [
        '--cfg-options', 'model.backbone.temporal.type=ReleasedAlignment'
    ], 'a.pth: the weights have .* in their temporal modules.*fix '
     '`model.backbone.temporal`'),
    ('b.pt2', ['--cfg-options', 'model.backbone.arch.feedforward_channels=96'
               ], r"a.pth: the weights' .* is \(.*fix `arch`"),
    ('b.pt2', ['--cfg-options', 'model.type=Recognizer2D', '--allow-new-keys'
               ], "`model.type` of the config is 'Recognizer2D', not 'ILA"),
    ('b.pt2', [
        '--cfg-options', 'test_dataloader.dataset.pipeline.3.scale=[32,48]'
    ], 'TokenAlignment_text.py: .* square frames, got 32 x 48; fix `test_'),
    ('b.pt2', ['--cfg-options', 'test_dataloader.dataset.pipeline.3.scale=36'
               ], 'patches of 8 pixels'),
    ('b.pt2', ['--cfg-options', 'model.data_preprocessor.format_shape=NCHW'
               ], "need `model.data_preprocessor.format_shape='NCTHW'`"),
    ('b.pt2', ['--cfg-options', 'model.data_preprocessor=None'
               ], 'give `model.data_preprocessor` mean and std'),
    ('b.pt2', ['--cfg-options', 'model.data_preprocessor.to_rgb=True'
               ], 'only the normalisation of RGB can be exported'),
    ('b.pt2', ['--cfg-options', 'model.test_cfg.batch_statistics=True'
               ], 'a batch cannot be exported; set `model.test_cfg'),
    ('data', [], 'data: give a name that ends in'),
    ('a.pth/b.pt2', [], "cannot write '.*b.pt2': .*choose another place"),
])
def test_bad_input_of_export(tiny, output, options, message):
    before = sorted(tiny.rglob('*'))
    with pytest.raises(SystemExit, match=message) as error:
        run(export, tiny / 'TokenAlignment_text.py', tiny / 'a.pth', '--out',
            tiny / output, *options)
    assert isinstance(error.value.code, str)  # printed, with exit code 1
    assert '\n' not in error.value.code
    assert sorted(tiny.rglob('*')) == before


def test_missing_packages_are_named(tiny, monkeypatch):
    for name in deployment.ONNX_PACKAGES:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
            SystemExit,
            match='^ONNX files need onnx onnxscript onnxruntime; run: '
            'pip install onnx onnxscript onnxruntime$'):
        run(export, tiny / 'TokenAlignment_text.py', tiny / 'a.pth', '--out',
            tiny / 'b.onnx')
    assert not (tiny / 'b.onnx').exists()
    (tiny / 'c.onnx').touch()
    with pytest.raises(SystemExit, match='need onnx onnxruntime; run: pip'):
        run(evaluate, tiny / 'TokenAlignment_text.py', tiny / 'c.onnx')


def test_file_that_differs_is_not_kept(tiny, monkeypatch):
    shutil.copy(tiny / 'a.pt2', tiny / 'kept.pt2')
    content = (tiny / 'kept.pt2').read_bytes()
    program = torch.export.load(tiny / 'a.pt2')
    monkeypatch.setattr(deployment, 'trace', lambda *_: program)
    forward = deployment.ClipClassifier.forward
    monkeypatch.setattr(deployment.ClipClassifier, 'forward',
                        lambda self, clips: 1.001 * forward(self, clips))
    with pytest.raises(
            SystemExit,
            match=r'differ by 1.0e-03 of the largest, '
            'more than 0.0001; nothing was written'):
        run(export, tiny / 'TokenAlignment_text.py', tiny / 'a.pth', '--out',
            tiny / 'kept.pt2')
    assert (tiny / 'kept.pt2').read_bytes() == content
    assert not list(tiny.glob('*.partial'))


@pytest.mark.parametrize('batch', [1, 4])
def test_nan_is_a_difference(monkeypatch, batch):
    meta = dict(num_frames=4, img_size=8, precision='float32')

    def run(clips):
        return torch.full((len(clips), 2),
                          math.nan if len(clips) == batch else 1.)

    monkeypatch.setattr(exported_files, 'load_exported', lambda path:
                        (run, meta))
    with pytest.raises(ValueError, match='differ by nan of the largest'):
        exported_files.check_exported('a.pt2',
                                      lambda clips: torch.ones(len(clips), 2))


@pytest.mark.parametrize('settings', [
    dict(num_classes=None),
    dict(class_names=tuple(NAMES)),
    dict(templates='{}'),
])
def test_the_same_config_in_other_words(tiny, settings):
    _, meta = exported_files.load_exported(str(tiny / 'a.pt2'))
    cfg = Config.fromfile(tiny / 'TokenAlignment_text.py')
    cfg.model.cls_head.update(settings)
    exported_files.check_config(cfg, meta)
    del meta['templates']  # As in older files.
    exported_files.check_config(cfg, meta)


def test_quantised_file_that_ignores_its_clips(monkeypatch):
    """Its logits are near the right ones, as those of texts are alike."""
    meta = dict(num_frames=4, img_size=16, precision='int8')

    def classifier(clips):
        level = clips.float().mean((1, 2, 3, 4)) / 255
        return 20 + torch.stack([level, -level], dim=1)

    def load(function):
        return lambda path: (function, meta)

    monkeypatch.setattr(exported_files, 'load_exported', load(classifier))
    assert exported_files.check_exported('a.onnx', classifier) == 0
    monkeypatch.setattr(exported_files, 'load_exported',
                        load(lambda clips: torch.full((len(clips), 2), 20.)))
    with pytest.raises(ValueError, match='of what distinguishes clips; noth'):
        exported_files.check_exported('a.onnx', classifier)


@pytest.mark.parametrize('head', [
    dict(type='I3DHead', multi_class=True, average_clips='prob'),
    dict(type='I3DHead', average_clips='score'),
    dict(type='I3DHead'),
    dict(type='ILALinearHead', multi_class=True),
])
def test_scores_are_those_of_the_head(head):
    """Of each, from logits that the file gives a few views at a time."""
    logits = torch.randn(5, 3)
    sizes = []

    def run_file(views):
        sizes.append(len(views))
        return logits[views]

    model = exported_files.ExportedRecognizer(run_file, 3, head, max_views=2)
    views, sample = torch.arange(5), ActionDataSample()
    model([views], [sample], 'predict')
    assert sizes == [2, 2, 1]
    own = MODELS.build(dict(head, num_classes=3, in_channels=4))
    by_class = exported_files.ExportedRecognizer(run_file, 3,
                                                 dict(head, type=type(own)))
    assert type(by_class.cls_head) is type(model.cls_head)
    torch.testing.assert_close(sample.pred_score,
                               own.average_clip(logits, 5)[0])


@pytest.mark.parametrize('name, options, message', [
    ('a.pt2', ['--dump', 'out.txt'], "write 'out.txt': .*must end with .pkl"),
    ('none.pt2', [], "Exported file not found: .*none.pt2"),
    ('cut.pt2', [], "cut.pt2' cannot be read: it is truncated"),
    ('a.pth', [], "a.pth' cannot be read: .* or not from tools/deployment"),
    ('a.pt2', ['--cfg-options', 'model.cls_head.class_names=[a,b,c,d,e]'
               ], '`model.cls_head.class_names` differs from what was exp'),
    ('a.pt2', ['--cfg-options', 'model.cls_head.templates=[a {}]'
               ], '`model.cls_head.templates` differs from what was exported'),
    ('a.pt2', [
        '--cfg-options', 'model.backbone.temporal.type=ReleasedAlignment'
    ], '`model.backbone.temporal` differs from what was exported; export the'),
    ('a.pt2', ['--cfg-options', 'model.cls_head.num_classes=6'
               ], '`model.cls_head.num_classes` differs from what was exp'),
    ('a.pt2', ['--cfg-options', 'model.data_preprocessor.to_rgb=True'
               ], 'takes RGB; remove `model.data_preprocessor.to_rgb`'),
    ('a.pt2', ['--cfg-options', 'model.data_preprocessor.mean=[1,2,3]'
               ], '`model.data_preprocessor.mean` differs from what was exp'),
    ('a.pt2', ['--cfg-options', 'model.data_preprocessor.std=[1,2,3]'
               ], '`model.data_preprocessor.std` differs from what was exp'),
    ('a.pt2', ['--cfg-options', 'model.test_cfg.batch_statistics=True'
               ], 'a batch cannot be exported'),
    ('a.pt2', ['--cfg-options', 'test_dataloader.dataset.num_classes=6'
               ], 'has 5 classes'),
    ('a.pt2', [
        '--cfg-options', 'test_dataloader.dataset.pipeline.1.clip_len=3'
    ], r"a.pt2' takes uint8 clips of \(3, 4, 32, 32\), got torch.uint8 of "
     r'\(3, 3, 32, 32\); fix the pipeline'),
])
def test_bad_input_of_test(tiny, name, options, message):
    cut = (tiny / 'a.pt2').read_bytes()[:5000]
    (tiny / 'cut.pt2').write_bytes(cut)
    with pytest.raises(SystemExit, match=message) as error:
        run(evaluate, tiny / 'TokenAlignment_text.py', tiny / name, *options)
    assert isinstance(error.value.code, str)
