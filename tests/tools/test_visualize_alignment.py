import sys
from pathlib import Path

import av
import cv2
import pytest
import torch
from commands import ROOT, run_tool
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from modules import load_module
from videos import write_video

from mmaction.apis import inference_recognizer, init_recognizer
from mmaction.registry import MODELS
from projects.ila.visualization import pictures
from projects.ila.visualization import view as drawings

TOOL = ROOT / 'tools/visualize_alignment.py'
CONFIG = f'''
_base_ = ['{ROOT}/tests/data/tiny_motion.py']
val_pipeline = [
    dict(type='SafePyAVInit'),
    dict(type='UniformSample', clip_len=4, test_mode=True),
    dict(type='SafePyAVDecode'),
    dict(type='Resize', scale=(32, 32), keep_ratio=False),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs')
]
test_pipeline = [
    dict(type='SafePyAVInit'),
    dict(type='UniformSample', clip_len=4, num_clips=2, test_mode=True),
    dict(type='SafePyAVDecode'),
    dict(type='Resize', scale=(-1, 32)),
    dict(type='ThreeCrop', crop_size=32),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs')
]
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
'''
PICTURES = ['frames.png', 'pairs.png', 'overlay.mp4']
ATTENTIONS = ['attention_received.png', 'attention_paid.png']

tool = load_module(TOOL)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Checkpoints of both forms, and videos, whole and damaged."""
    folder = tmp_path_factory.mktemp('visualize')
    (folder / 'tiny.py').write_text(CONFIG)
    for name, settings in (('token',
                            dict(temporal=dict(type='TokenAlignment'))),
                           ('released',
                            dict(temporal=dict(type='ReleasedAlignment'))),
                           ('second',
                            dict(layers=[1])), ('none', dict(temporal=None))):
        torch.manual_seed(0)
        cfg = Config.fromfile(folder / 'tiny.py')
        cfg.model.backbone.update(settings)
        with DefaultScope.overwrite_default_scope('mmaction'):
            model = MODELS.build(cfg.model)
        model.init_weights()
        # Scores that differ, and points that are not all at the centre.
        model.cls_head.fc.weight.data *= 20
        for layer in model.backbone.alignments:
            layer.predictor.point[-1].weight.data *= 50
        torch.save(dict(state_dict=model.state_dict()), folder / f'{name}.pth')
    write_video(folder / 'a.mp4')
    write_video(folder / 'one.mp4', 1)
    content = (folder / 'a.mp4').read_bytes()
    (folder / 'cut.mp4').write_bytes(content[:len(content) // 2])
    (folder / 'text.mp4').write_text('no video')
    (folder / 'two.txt').write_text('run\njump\n')
    (folder / 'ten.txt').write_text(''.join(f'name {x}\n' for x in range(10)))
    return folder


@pytest.fixture
def draw(folder, monkeypatch, capsys):
    """Run the tool in the folder, and give what it prints."""
    monkeypatch.chdir(folder)

    def run(checkpoint, video, *options):
        monkeypatch.setattr(sys, 'argv', [
            TOOL.name, 'tiny.py', checkpoint, video, '--device', 'cpu',
            *options
        ])
        tool.main()
        lines = capsys.readouterr().out.splitlines()
        return [line for line in lines if 'Loads checkpoint' not in line]

    return run


def read_video(path):
    with av.open(str(path)) as container:
        return [
            frame.to_ndarray(format='rgb24')
            for frame in container.decode(video=0)
        ]


def test_all_pictures_of_the_token_form(draw, folder):
    out = draw('token.pth', 'a.mp4')
    results = Path('work_dirs/tiny/alignment/a')
    names = PICTURES + ATTENTIONS
    assert out[1:] == [str(results / name) for name in names]
    assert {path.name for path in results.iterdir()} == {*names}
    sizes = {
        name: cv2.imread(str(results / name)).shape
        for name in names if name.endswith('.png')
    }
    # Four frames and three rows, two of them of blocks.
    height, width, _ = sizes['frames.png']
    assert 4 * 156 < width < 5 * 156 and 3 * 156 < height < 4 * 156
    frames = read_video(results / 'overlay.mp4')
    assert len(frames) == 4
    assert all(side % 2 == 0 for side in frames[0].shape[:2])

    # The class and its score are those that MMAction2 predicts.
    model = init_recognizer('tiny.py', 'token.pth', 'cpu')
    result = inference_recognizer(model, 'a.mp4',
                                  Compose(model.cfg.val_pipeline))
    score, label = result.pred_score.max(0)
    assert score > 0.11
    assert out[0] == f'a.mp4: class {label}, {score:.1%}'


def test_folders_of_frames(draw, folder):
    """For a config that reads them."""
    for number, frame in enumerate(read_video('a.mp4'), 1):
        path = folder / f'frames/img_{number:05}.jpg'
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(
            str(path), frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 100])
    Path('frames.py').write_text(
        CONFIG.replace("dict(type='SafePyAVInit'),",
                       '').replace('SafePyAVDecode', 'RawFrameDecode'))
    result = run_tool(TOOL, 'frames.py', 'token.pth', 'frames', '--device',
                      'cpu', '--out', 'work_dirs/tiny/alignment/frames')
    assert result.returncode == 0, result.stderr
    draw('token.pth', 'a.mp4')
    own, expected = (
        cv2.imread(f'work_dirs/tiny/alignment/{name}/frames.png').astype(int)
        for name in ('frames', 'a'))
    assert abs(own - expected).mean() < 5


def test_released_form_has_no_attention(draw, folder):
    """Of one block, and at another speed."""
    out = draw('released.pth', 'a.mp4', '--out', 'released/a', '--layers', '1',
               '--fps', '4', '--classes', 'ten.txt', '--cfg-options',
               'model.backbone.temporal.type=ReleasedAlignment')
    results = Path('released/a')
    assert out[1:] == [
        *(str(results / name) for name in PICTURES),
        'no picture of attention: the temporal module ReleasedAlignment has '
        'no mutual-information token, or the images no class token'
    ]
    assert out[0].startswith('a.mp4: name ')
    assert {path.name for path in results.iterdir()} == {*PICTURES}
    with av.open(str(results / 'overlay.mp4')) as container:
        assert container.streams.video[0].average_rate == 4
    height, width, _ = cv2.imread('released/a/frames.png').shape
    assert 2 * 156 < height < 3 * 156


@pytest.mark.parametrize('options', ['', '--layers 1'])
def test_blocks_that_align_have_their_own_numbers(draw, folder, monkeypatch,
                                                  options):
    figures = {}
    for module in (pictures, drawings):
        monkeypatch.setattr(
            module, 'save_figure',
            lambda path, figure: figures.update({path.stem: figure}) or path)
    draw('second.pth', 'a.mp4', '--out', 'second', *options.split(),
         '--cfg-options', 'model.backbone.layers=[1]')
    rows = {
        name: [axis.get_ylabel() for axis in figure.axes if axis.get_ylabel()]
        for name, figure in figures.items()
    }
    assert rows == dict(
        frames=['frames', 'block 1'],
        pairs=['block 1'],
        attention_received=['block 1'],
        attention_paid=['block 1'])
    assert len(read_video('second/overlay.mp4')) == 4


def test_views_are_those_of_the_test_pipeline(draw, folder, monkeypatch):
    drawn = []
    monkeypatch.setattr(pictures, 'write_pictures',
                        lambda *args: drawn.append(args[1:]) or [])
    model = init_recognizer('tiny.py', 'token.pth', 'cpu')
    results = Compose(model.cfg.test_pipeline)(
        dict(filename='a.mp4', label=-1, start_index=0, modality='RGB'))
    views = results['inputs']
    assert len(views) == 6 and not views[0].equal(views[3])
    for view in (0, 3):
        out = draw('token.pth', 'a.mp4', '--view', str(view))
        sample, found, *_ = drawn.pop()
        assert sample['inputs'].equal(views[view:view + 1])
        normal = model.data_preprocessor
        inputs = (views[view] - normal.mean) / normal.std
        with torch.no_grad():
            outputs = model(inputs[None, None])
        torch.testing.assert_close(found['scores'],
                                   outputs['logits'][0].softmax(-1))
        torch.testing.assert_close(found['points'].flatten(-2),
                                   outputs['points'][:, 0])
        torch.testing.assert_close(1 - found['similarities'].mean(-1),
                                   outputs['cos_loss'])
        assert found['received'].shape == (2, 4, 1 + 16)
        assert found['paid'].shape == (2, 4, 1 + 16 + 1)
        assert out == [
            f"a.mp4: class {found['scores'].argmax()}, "
            f"{found['scores'].max():.1%} (view {view})"
        ]


def test_compiled_model(draw, folder, monkeypatch):
    """What is within a compiled network could not be recorded."""
    drawn = []
    monkeypatch.setattr(pictures, 'write_pictures',
                        lambda *args: drawn.append(args[1:]) or [])
    draw('token.pth', 'a.mp4')
    draw('token.pth', 'a.mp4', '--cfg-options', 'model.compile=True')
    plain, compiled = (found for _, found, *_ in drawn)
    for name, value in plain.items():
        torch.testing.assert_close(value, compiled[name])


@pytest.mark.parametrize('args, message', [
    ('token.pth none.mp4', 'Video file not found: none.mp4'),
    ('missing.pth a.mp4', 'Checkpoint file not found: missing.pth'),
    ('token.pth one.mp4', "cannot load video 'one.mp4': .* has only 1"),
    ('token.pth cut.mp4', "cannot load video 'cut.mp4': .* truncated"),
    ('token.pth text.mp4', "cannot load video 'text.mp4'"),
    ('text.mp4 a.mp4', "weight file 'text.mp4' cannot be read"),
    ('released.pth a.mp4',
     "released.pth: the weights have .* in their temporal modules"),
    ('token.pth a.mp4 --layers 0 2', '--layers 2: .* 2 blocks; .* 0 to 1'),
    ('token.pth a.mp4 --layers -1', '--layers -1: .* 2 blocks; .* 0 to 1'),
    ('second.pth a.mp4 --layers 0 --cfg-options '
     'model.backbone.layers=[1]',
     '--layers 0: that block aligns nothing; choose from 1'),
    ('second.pth a.mp4',
     r'second.pth: the weights lack \d+ entries .*temporal.0'
     '.*take the config'),
    ('token.pth a.mp4 --view 6', '--view 6: .* 6 views; .* 0 to 5'),
    ('token.pth a.mp4 --classes two.txt', 'two.txt: 2 names, .* 10'),
    ('token.pth a.mp4 --classes none.txt', "'none.txt' is neither"),
    ('token.pth a.mp4 --device gpu', "device 'gpu' cannot be used"),
    ('token.pth a.mp4 --out a.mp4', "write to folder 'a.mp4': .* another"),
    ('token.pth a.mp4 --cfg-options val_dataloader=None',
     'no `val_dataloader`.*--view'),
    ('token.pth a.mp4 --allow-new-keys --cfg-options '
     'model.type=Recognizer3D',
     "`model.type` of the config is 'Recognizer3D'"),
    ('token.pth a.mp4 --cfg-options val_pipeline.3.scale=(36,36) '
     'val_dataloader.dataset.pipeline.3.scale=(36,36)',
     'patches of 8 pixels do not divide'),
    ('none.pth a.mp4 --cfg-options model.backbone.temporal=None',
     'the temporal module None has no interactive points .*TokenAlignment'),
])
def test_bad_input(draw, args, message):
    with pytest.raises(SystemExit, match=message) as error:
        draw(*args.split())
    assert isinstance(error.value.code, str)  # printed, with exit code 1
    assert '\n' not in error.value.code


def test_missing_checkpoint(tmp_path, monkeypatch):
    """From any working directory; an error is one line."""
    monkeypatch.chdir(tmp_path)
    result = run_tool(TOOL, ROOT / 'configs/ila_motion.py', 'a', 'b')
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == (
        'Checkpoint file not found: a. Please check its path, which is taken '
        f'from {tmp_path}')


def test_frames_per_second_must_be_some(draw, capsys):
    with pytest.raises(SystemExit):
        draw('token.pth', 'a.mp4', '--fps', '0')
    assert '--fps must be 1 or more' in capsys.readouterr().err
