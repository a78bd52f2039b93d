"""The benchmarks run, on little; their figures are not tested."""
import itertools
import json
import math
import shlex
import subprocess
import sys

import numpy as np
import pytest
import torch
from commands import ROOT, run_tool
from launch import run_python
from mmengine.config import Config
from modules import load_module
from tiny import draw_weights

from mmaction.registry import MODELS
from projects.ila.datasets.motion import make_dataset, render_states
from projects.ila.models.images import CLIPImage

BENCHMARKS = ROOT / 'benchmarks'


@pytest.fixture
def forked_tools(monkeypatch):
    """Let benchmarks run tools without importing everything again."""
    monkeypatch.setattr(subprocess, 'run', run_python)


def run(name, *arguments):
    result = run_tool(f'benchmarks/{name}', *arguments)
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


def test_inference():
    lines = run('inference.py', '--frames', '2', '--size', '64', '--blocks',
                '2', '--rounds', '1').splitlines()
    rows = [line.split('|')[1:3] for line in lines if line.startswith('| ')]
    assert rows[1][0].strip() == 'plain CLIP ViT'
    assert float(rows[1][1]) == 1
    assert sum('ILA' in name for name, _ in rows) == 6


def test_streaming():
    lines = run('streaming.py', '--frames', '2', '--window-frames', '4',
                '--size', '64', '--blocks', '2', '--rounds', '1').splitlines()
    assert sum(', stream |' in line for line in lines) == 3
    # It stops where the scores differ.
    assert sum('differ by' in line for line in lines) == 3


def test_gpu():
    lines = run('gpu.py', '--batch-size', '2', '--frames', '2', '--size', '32',
                '--blocks', '1', '--rounds', '1', '--rows',
                '^(ILA token|plain CLIP ViT, SiLU)$')
    rows = [[cell.strip() for cell in line.split('|')[1:-1]]
            for line in lines.splitlines() if line.startswith('| ')]
    rows = [row for row in rows if row[0].startswith(('plain', 'ILA'))]
    assert [row[0] for row in rows] == [
        'plain CLIP ViT, SiLU', 'ILA token', 'plain CLIP ViT, SiLU',
        'ILA token'
    ]
    assert rows[0][1] == rows[2][1] == '1.00'
    for row in rows[:2]:
        assert 0 < float(row[-1]) < 0.05  # Between bfloat16 and float32.


def test_training_memory():
    step = '["token", "recomputed", true, 1, 2]'
    assert int(run('training_memory.py', '--step', step)) > 2**28


def test_training_speed():
    lines = run('training_speed.py', '--batch-size', '1', '--size', '64',
                '--blocks', '1', '--rounds', '1', '--forms',
                'token').splitlines()
    assert sum(line.startswith('| ILA token') for line in lines) == 4


def test_scaling(tmp_path):
    picture = tmp_path / 'scaling.png'
    lines = run('scaling.py', '--rounds', '1', '--size', '64', '--blocks', '2',
                '--largest', '1', '--out', picture).splitlines()
    assert sum(line.startswith('| ILA') for line in lines) == 6
    assert picture.stat().st_size > 10000


def test_decoding():
    lines = run('decoding.py', '--frames', '40', '--rounds', '1').splitlines()
    assert sum(line.startswith('| SafePyAV') for line in lines) == 2


def test_feeding():
    """The stages add up, and clips are augmented where the row says so."""
    lines = run('feeding.py', '--frames', '20', '--clips', '1', '--batches',
                '1', '--workers', '1', '--model-clips-per-second',
                '0.1').splitlines()
    rows = {
        cells[1].strip(): [cell.strip() for cell in cells[2:-1]]
        for cells in (line.split('|') for line in lines) if len(cells) > 2
    }
    stages = ('open', 'decode', 'resize, crop, flip', 'augment',
              'sample, format, pack')
    for way in range(3):
        total = sum(float(rows[stage][way]) for stage in stages)
        assert total == pytest.approx(float(rows['all'][way]), abs=0.3)
        share = float(rows['1'][3 + way].strip(' %'))
        assert share == pytest.approx(
            1000 * float(rows['1'][way]), abs=51 + share / 100)
    assert float(rows['augment'][0]) > 0
    assert rows['augment'][1:] == ['0.0', '0.0']


@pytest.mark.parametrize('config', ['ila_vitb16_k400', 'ila_vitb16_ssv2'])
def test_ablation_prints_commands_for_any_config(monkeypatch, capsys, config):
    """Each is a model of its own that can be built."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    tool = load_module(BENCHMARKS / 'ablation.py')
    monkeypatch.setattr(sys, 'argv', [
        'ablation.py', '--groups', *tool.GROUPS, '--config',
        f'{ROOT}/configs/{config}.py', '--print-commands'
    ])
    tool.main()
    commands = capsys.readouterr().out.splitlines()[1::2]
    assert len(commands) == len(tool.variants_of(tool.GROUPS))
    counts = set()
    for command in commands:
        words = shlex.split(command)
        model_cfg = tool.load_variant(words[2], words[4:]).model
        model_cfg.backbone.arch = dict(
            CLIPImage.arch_zoo['clip-b/16'], num_layers=2)
        if model_cfg.cls_head.type == 'ILATextHead':
            model_cfg.cls_head.text_encoder = dict(layers=1)
        counts.add(
            (str(sorted(model_cfg.backbone.items())), str(model_cfg.neck),
             model_cfg.get('align_loss_weight', 1)))
        tool.complexity.build_without_data(model_cfg)
    # One is called by two names.
    assert len(counts) == len(commands) - 1


def test_ablation(tmp_path, forked_tools):
    """One variant, trained and drawn, and not trained again."""
    arguments = ('ablation.py', '--groups', 'modules', '--only', 'none',
                 '--levels', '3', '--seeds', '0', '1', '--train', '24',
                 '--val', '12', '--steps', '2', '--data', tmp_path / 'data',
                 '--work-dir', tmp_path / 'runs', '--cfg-options',
                 'train_cfg.max_epochs=2')
    lines = run(*arguments).splitlines()
    row, = (line for line in lines if line.startswith('| none |'))
    folder = tmp_path / 'runs/ila_motion_ablation/level3_seed0'
    picture = folder.with_name('modules_seed0.png')
    assert picture.stat().st_size > 5000
    logs = sorted(folder.glob('none/*/*/vis_data/scalars.json'))
    finals = [
        100 * json.loads(log.read_text().splitlines()[-1])['acc/top1']
        for log in logs
    ]
    mean, low, high = (float(cell.strip(' %')) for cell in row.split('|')[2:5])
    assert mean == pytest.approx(sum(finals) / 2, abs=0.06)
    assert (low, high) == pytest.approx((min(finals), max(finals)), abs=0.06)
    run(*arguments)
    assert sorted(folder.glob('none/*/*/vis_data/scalars.json')) == logs

    # Nothing else is taken for them.
    for others, message in (
        (['model.align_loss_weight=2'], 'none/0 holds a run with other'),
        (['--steps', '3'], 'image_model.pth was trained for 2 steps'),
        (['--steps', '3'], 'none/0 holds a run with other steps;'),
        (['--only', 'non'], "--only: no ['non'] in"),
        (['--train', '0'], 'num_train must be'),
        (['--config', f'{ROOT}/configs/ila_vitb16_k400.py'],
         'ila_vitb16_k400.py has no `data_settings`'),
    ):
        result = run_tool(f'benchmarks/{arguments[0]}', *arguments[1:],
                          *others)
        assert result.returncode == 1
        assert message in result.stderr.splitlines()[-1]
        if message.startswith('image_model.pth'):  # It says to delete it.
            (folder.parent / 'image_model.pth').unlink()


@pytest.mark.parametrize('kind', ['eva02', 'dinov2'])
def test_ablation_of_another_image_model(tmp_path, forked_tools, kind):
    """Without learning, the image model stays as it was trained."""
    name = f'ila_motion_{kind}'
    lines = run('ablation.py', '--config',
                f'{ROOT}/configs/generality/{name}.py', '--only', 'ILA token',
                '--seeds', '0', '--train', '12', '--val', '10', '--steps', '2',
                '--data', tmp_path / 'data', '--work-dir', tmp_path / 'runs',
                '--cfg-options', 'train_cfg.max_epochs=1',
                'optim_wrapper.optimizer.lr=0.').splitlines()
    assert sum(line.startswith('| ILA token |') for line in lines) == 1
    folder = tmp_path / 'runs' / name
    image = torch.load(folder / 'image_model.pth')['state_dict']
    trained = torch.load(
        folder / 'level1_seed0/ILA_token/0/epoch_1.pth',
        weights_only=False)['state_dict']
    assert len(image) > 25
    for key, value in image.items():
        assert torch.equal(trained[f'backbone.{key}'], value)


@pytest.mark.parametrize('points', [[(0., 0.)], [(0.6, -0.4), (-0.2, 0.7)]])
def test_point_places(tmp_path, points):
    """Of points that stay where they are the distances are known."""
    config, checkpoint = tmp_path / 'config.py', tmp_path / 'weights.pth'
    config.write_text(f"""
_base_ = ['{ROOT}/configs/ila_motion_ablation.py']
model = dict(backbone=dict(temporal=dict(num_points={len(points)})))
""")
    model = MODELS.build(Config.fromfile(config).model)
    for name, parameter in model.named_parameters():
        if name.endswith('.point.2.weight'):
            parameter.data.zero_()
        elif name.endswith('.point.2.bias'):
            # Of the earlier and of the later frame; 0.75 is the limit.
            places = torch.tensor(2 * points).flatten()
            parameter.data = (places / 0.75).atanh()
    torch.save(dict(state_dict=model.state_dict()), checkpoint)
    lines = run('point_places.py', config, checkpoint, '--videos',
                '3').splitlines()
    rows = [line.split('|')[1:-1] for line in lines if line.startswith('| ')]
    # Frames 1, 3, ... of 16; those in the middle belong to two pairs.
    nearest = []
    for index in range(3):
        states = render_states(index, (10**6 + 1, index), 16, 64, 1)[1][1::2]
        for number, state in enumerate(states):
            # The crop is 64 of 72 pixels.
            near = min(
                # -1 and 1 are the middles of the outermost of 8 patches.
                math.dist((state[:2] + np.array(shift) - 0.5) * 72 / 64,
                          np.array(point) * 7 / 16)
                for shift in itertools.product((-1, 0, 1), repeat=2)
                for point in points)
            nearest += [near] * (1 if number in (0, 7) else 2)
    expected = sum(nearest) / len(nearest)
    assert [[float(cell) for cell in row] for row in rows[1:]] == [
        pytest.approx([block, expected, expected], abs=6e-4)
        for block in (1, 2)
    ]


def test_precision(tmp_path, forked_tools):
    config, checkpoint = tmp_path / 'config.py', tmp_path / 'weights.pth'
    config.write_text(f"""
_base_ = ['{ROOT}/configs/ila_motion.py']
test_dataloader = dict(dataset=dict(
    ann_file='{tmp_path}/data/val.txt',
    data_prefix=dict(video='{tmp_path}/data/videos')))
""")
    make_dataset(tmp_path / 'data', 10, 10, seed=0, num_frames=8, size=64)
    model = draw_weights(MODELS.build(Config.fromfile(config).model))
    torch.save(dict(state_dict=model.state_dict()), checkpoint)
    lines = run('precision.py', config, checkpoint, '--versions',
                'bf16').splitlines()
    single, half = (line for line in lines if ' of 10 |' in line)
    assert single.startswith('| float32 |')
    assert single.endswith('| 10 of 10 | 0.0e+00 |')
    assert half.startswith('| bf16 |') and '| 10 of 10 |' in half
    assert not half.endswith('| 0.0e+00 |')
