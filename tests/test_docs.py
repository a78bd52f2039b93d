"""The commands of the documents, with a small model.

Those of data, gestures, the tutorial and benchmarks have their own tests.
"""
import json
import os
import re
import shutil
import sys
from argparse import ArgumentParser
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from archives import save_torchscript
from commands import ROOT, once, run_command
from matplotlib import pyplot as plt
from mmengine.config import Config
from mmengine.registry import init_default_scope
from small_project import (SMALL_BACKBONE, find_missing, make_clip, run_small,
                           shrink_configs)
from videos import write_video

from mmaction.registry import MODELS
from projects.ila.apis import deployment, ila_to_released
from projects.ila.weights import convert_clip, remote_file

# The first command trains what the others use.
PAGES = ('docs/training.md', 'README.md', 'docs/inference.md',
         'docs/troubleshooting.md', 'docs/docker.md', 'docs/checkpoints.md',
         'docs/comparisons.md', 'docs/images.md', 'docs/tour.md',
         'docs/integration.md', 'CONTRIBUTING.md')
# By other test_docs_*.py and test_benchmarks.py.
OTHER_PAGES = ('docs/data.md', 'docs/gestures.md', 'docs/tutorial.md',
               'benchmarks/README.md')
CHECKPOINT = 'trained.pth'
ZERO_SHOT = 'configs/clip_vitb16_zeroshot.py'
# In this order, in the small model's folder.
REPLACED = {
    # The launchers pass these on: tests/tools/test_launchers.py.
    r'^(?:[A-Z_]+=\S+ +)*tools/dist_(train|test)\.sh (.*) 8\b':
    r'tools/\1.py \2',
    r'^tools/slurm_train\.sh PARTITION JOB_NAME': 'tools/train.py',
    r'^python ': '',
    r'\bCHECKPOINT\b': CHECKPOINT,
    # By name it would be that of the full size.
    r'\bclip_vitb16_zeroshot\b': ZERO_SHOT,
    r' 0 --stream$': ' a.mp4 --stream --window 0.3',  # For want of a camera.
    r'--layers 0 5 11': '--layers 0',
    r'=\[8,9,10,11\]': '=[0]',
    r'--level 3': '--level 3 --train 12 --val 12',
    # A picture of 400 classes, and each video that is written, take seconds.
    r'--show-path': '--target-classes 0 1 3 --show-path',
    r'--show-number 2': '--show-number 1',
}
# Elsewhere run: the Makefile's targets by CI, benchmarks by
# test_benchmarks.py, sharded trainings by tests/tools/test_strategies.py, what
# restarts by itself by tests/tools/test_launchers.py and ONNX files by
# test_docs_tutorial.py. The image is not built; test_dockerfile.py checks what
# it can.
ELSEWHERE = (r'(make|mkdir|docker build|python benchmarks/|'
             r'\S+ configs/sharded/|.*\bMAX_RESTARTS=|sbatch |.*\.onnx\b)')
# Sizes for 64 pixels, and no weights to download.
SMALL_HEAD = """
model.update(neck=dict(embed_dims=64), cls_head=dict(in_channels=64))
"""
SMALL_DINOV2 = SMALL_HEAD + """
model['backbone']['image']['model'].update(
    arch=dict(
        _delete_=True,
        embed_dims=64,
        num_layers=1,
        num_heads=1,
        feedforward_channels=64),
    patch_size=16,
    init_cfg=None)
"""
SMALL_TIMM = SMALL_HEAD + """
model['backbone']['image'].update(
    embed_dim=64,
    depth=1,
    num_heads=1,
    patch_size=16,
    img_size=64,
    pretrained=False)
"""
SMALL_MAP = """
model['cls_head'].update(in_channels=128)
"""
SMALL_RECOGNIZER = SMALL_BACKBONE + """
model['cls_head'].update(in_channels=64)
"""


def read_blocks(language):
    for page in PAGES:
        text = (ROOT / page).read_text()
        yield from re.findall(f'```{language}\n(.*?)```', text, re.S)


def read_commands():
    lines = ''.join(read_blocks('shell')).replace('\\\n', '').splitlines()
    # In a container the commands are the same.
    lines = [re.sub(r'^docker run .* ila (?=python )', '', x) for x in lines]
    return [
        line for line in dict.fromkeys(lines)
        if not line.startswith('#') and not re.match(ELSEWHERE, line)
    ]


def to_small(line):
    for pattern, replacement in REPLACED.items():
        line = re.sub(pattern, replacement, line)
    return line


class ImageSequenceClip:
    """Stands in for moviepy's, which writes the videos of MMAction2."""

    def __init__(self, frames, fps):
        self.frames = np.stack(frames)

    def write_videofile(self, path, **kwargs):
        np.save(f'{path}.npy', self.frames)


def make_moviepy():
    editor = ModuleType('moviepy.editor')
    editor.ImageSequenceClip = ImageSequenceClip
    return {'moviepy': ModuleType('moviepy'), 'moviepy.editor': editor}


def make_kinetics():
    for split, labels in (('train', (0, 399)), ('val', (3, 1))):
        folder = Path(f'data/kinetics400/videos_{split}')
        folder.mkdir(parents=True)
        lines = []
        for index, label in enumerate(labels):
            write_video(folder / f'{index}.mp4', 12)
            lines.append(f'{index}.mp4 {label}\n')
        (folder.parent / f'kinetics400_{split}_list_videos.txt').write_text(
            ''.join(lines))


def make_released():
    """A checkpoint as the authors' code writes it."""
    init_default_scope('mmaction')
    model_cfg = Config.fromfile('configs/released/ila_vitb16_k400.py').model
    torch.manual_seed(0)
    model = MODELS.build(model_cfg)
    model.init_weights()
    torch.save(model.state_dict(), 'own.pth')
    released, _ = ila_to_released(model_cfg, 'own.pth')
    torch.save(released, 'k400_16_8.pth')


@pytest.fixture(scope='module')
def outputs(tmp_path_factory):
    """Run all commands; give the exit code of each and what it printed."""
    folder = tmp_path_factory.mktemp('docs')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        shrink_configs(folder)
        with open('configs/_base_/schedules/adamw_50e.py', 'a') as file:
            file.write("train_cfg['max_epochs'] = 1\n")
        with open('configs/generality/ila_dinov2-b14_k400.py', 'a') as file:
            file.write(SMALL_DINOV2)
        make_kinetics()
        make_released()
        save_torchscript(make_clip(), 'ViT-B-16.pt')
        Path('checkpoints').mkdir()
        save_torchscript(make_clip(), 'checkpoints/ViT-B-16.pt')
        for name in ('a.mp4', 'long.mp4', 'videos/b.mp4'):
            Path(name).parent.mkdir(exist_ok=True)
            write_video(Path(name), 100 if name == 'long.mp4' else 12)
        for name in ('one', 'three'):
            path = Path('data/custom/videos', name)
            path.mkdir(parents=True)
            for take in (1, 2):
                write_video(path / f'{take}.mp4', 9 + take + len(name))
        Path('names.txt').write_text('riding a bike\nplaying guitar\n')
        Path('list.txt').write_text('0.mp4 0\n1.mp4 1\n')
        patch.setattr(remote_file, '_fetch_from_hub',
                      lambda repository, *files: 'ViT-B-16.pt')
        # All exports are of one model.
        patch.setattr(deployment, 'trace', once(deployment.trace))
        for name, module in make_moviepy().items():
            patch.setitem(sys.modules, name, module)
        outputs = {}
        for line in read_commands():
            if not find_missing(line):
                outputs[line] = run_small(to_small(line), folder)
            if len(outputs) == 1:
                shutil.copy('work_dirs/ila_vitb16_k400/epoch_1.pth',
                            CHECKPOINT)
        yield outputs


@pytest.mark.parametrize('line', read_commands())
def test_command_runs(outputs, line):
    if find_missing(line):
        pytest.skip(f'needs {", ".join(find_missing(line))}')
    assert outputs[line][0] == 0


def test_python_runs(outputs):
    for block in read_blocks('python'):
        if '_base_' not in block:
            block = block.replace("'CHECKPOINT'", repr(CHECKPOINT))
            exec(block.replace("'clip_vitb16_zeroshot'", repr(ZERO_SHOT)), {})


def test_notebook_runs(outputs, monkeypatch, capsys):
    """The cells one after the other, the last one with a small CLIP."""
    notebook = json.loads((ROOT / 'docs/quickstart.ipynb').read_text())
    code = '\n'.join(''.join(cell['source']) for cell in notebook['cells']
                     if cell['cell_type'] == 'code')
    code = code.replace('download = False', 'download = True')
    # It would leave the small project.
    monkeypatch.setattr(os, 'chdir', lambda path: None)
    names = {}
    exec(code.replace("'clip_vitb16_zeroshot'", repr(ZERO_SHOT)), names)
    plt.close('all')
    features = names['features']
    assert len(features) == len(names['videos']) == 10
    assert np.allclose((features**2).sum(1), 1)
    predicted = re.findall(r'^(.*): [\d.]+%$', capsys.readouterr().out, re.M)
    assert {*predicted[:3]} < {*names['names']}
    assert {*predicted[3:]} == {'a coloured shape', 'a person', 'a landscape'}


def train(name, text):
    """Train a config that is written here; give its checkpoint."""
    path = Path(f'configs/{name}.py')
    path.write_text(text)
    code, _ = run_command(f'tools/train.py {path}')
    assert code == 0
    return torch.load(f'work_dirs/{path.stem}/epoch_1.pth', weights_only=True)


def read_config(part):
    block, = (
        block for block in read_blocks('python')
        if '_base_' in block and part in block)
    return block


def test_settings_of_a_config_train(outputs):
    base = "_base_ = ['ila_vitb16_k400.py']\n"
    checkpoint = train('averaged', base + read_config('EMAHook'))
    assert 'ema_state_dict' in checkpoint
    rates = {group['lr'] for group in checkpoint['optimizer']['param_groups']}
    assert len(rates) > 2


def test_config_of_a_timm_model_trains(outputs):
    weights = train('generality/timm', read_config('TimmImage') + SMALL_TIMM)
    assert weights['state_dict']['backbone.image.model.reg_token'].ndim == 3


def test_configs_with_heads_of_mmaction2_train(outputs):
    train('head', read_config('I3DHead') + SMALL_MAP)
    weights = train('recognizer',
                    read_config('AlignmentLossNeck') + SMALL_RECOGNIZER)
    name = 'backbone.image.model.patch_embed.projection.weight'
    torch.testing.assert_close(
        weights['state_dict'][name],
        convert_clip(make_clip())[name].float(),
        rtol=0,
        atol=1e-3)
    log, = Path('work_dirs/recognizer').glob('*/vis_data/scalars.json')
    assert 'loss_align' in log.read_text()


def find_output(outputs, part):
    return next(text for line, (_, text) in outputs.items() if part in line)


def test_tools_of_mmaction2_agree(outputs):
    """With the test that wrote the dump, whose accuracies are in its log."""
    log = find_output(outputs, '--dump out.pkl')
    expected = re.findall(r'acc/\w+: ([.\d]+)', log)[-3:]
    assert len(expected) == 3
    found = re.findall(r"'acc/\w+': (?:np.float64\()?([.\d]+)",
                       find_output(outputs, 'eval_metric'))
    assert [f'{float(value):.4f}' for value in found] == expected
    found = re.findall(r'Accuracy: ([.\d]+)',
                       find_output(outputs, 'report_accuracy'))
    assert [*found[1:], found[0]] == expected
    assert Path('confusion.png').is_file()
    frames = np.load('cam.mp4.npy')
    assert frames.shape == (12 * 8, 64, 64, 3) and frames.std() > 0


def test_every_page_with_commands_is_run():
    pages = {ROOT / page for page in (*PAGES, *OTHER_PAGES)}
    pages.add(ROOT / 'README_zh-CN.md')  # It has those of README.md.
    for folder in {page.parent for page in pages}:
        for path in folder.glob('*.md'):
            assert path in pages or '```shell' not in path.read_text(), path


class Parsed(Exception):
    """The arguments were accepted."""


def read_benchmark_commands():
    for page in (*PAGES, *OTHER_PAGES):
        text = (ROOT / page).read_text().replace('\\\n', '')
        yield from re.findall(r'^(?:\S+=\S+ )?python (benchmarks/[^#\n]*)',
                              text, re.M)


@pytest.mark.parametrize('line', dict.fromkeys(read_benchmark_commands()))
def test_benchmark_takes_the_arguments(line, monkeypatch):
    """That they run is tested in test_benchmarks.py."""
    parse = ArgumentParser.parse_args

    def stop(*args):
        parse(*args)
        raise Parsed

    monkeypatch.setattr(ArgumentParser, 'parse_args', stop)
    monkeypatch.chdir(ROOT)
    with pytest.raises(Parsed):
        run_command(line)
    for name in re.findall(r'configs/\S+', line):
        assert Path(name).is_file(), name
