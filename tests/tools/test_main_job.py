"""The commands of the README on small data, with a small model."""
import os
import pickle

import pytest
import torch
from archives import clip_of, save_torchscript
from commands import ROOT, run_tool
from launch import dist_train
from mmengine.config import Config
from reference import load_reference
from videos import write_video

from mmaction.registry import MODELS
from projects.ila.apis import ila_to_released
from projects.ila.weights import checkpoint as checkpoint_files
from projects.ila.weights import convert_clip

CONFIG = f'''
_base_ = ['{ROOT}/configs/ila_vitb16_k400.py']
model = dict(
    backbone=dict(
        temporal=dict(type='TYPE'),
        arch=dict(
            _delete_=True,
            embed_dims=64,
            num_layers=2,
            num_heads=1,
            feedforward_channels=64,
            patch_size=32,
            out_channels=64)),
    neck=dict(embed_dims=64),
    cls_head=dict(
        in_channels=64, patch_channels=64, text_encoder=dict(layers=1)))
train_cfg = dict(max_epochs=1)
train_dataloader = dict(num_workers=1, persistent_workers=False)
val_dataloader = dict(num_workers=1, persistent_workers=False)
test_dataloader = dict(num_workers=1, persistent_workers=False)
'''


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A working directory with Kinetics-400 in the smallest size."""
    folder = tmp_path_factory.mktemp('main_job')
    data = folder / 'data/kinetics400'
    for split, labels in (('train', [0, 399, 5, 7]), ('val', [3, 399])):
        (data / f'videos_{split}').mkdir(parents=True)
        lines = []
        for index, label in enumerate(labels):
            write_video(data / f'videos_{split}/{index} a.mp4', 20, (80, 60))
            lines.append(f'{index} a.mp4 {label}\n')
        (data / f'kinetics400_{split}_list_videos.txt').write_text(
            ''.join(lines))
    for name, kind in (('token', 'TokenAlignment'), ('released',
                                                     'ReleasedAlignment')):
        (folder / f'ila_{name}.py').write_text(CONFIG.replace('TYPE', kind))
    before = os.getcwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


@pytest.fixture(scope='module')
def checkpoint(folder):
    result = dist_train(folder, 'ila_token.py', 2, '--cfg-options',
                        'optim_wrapper.optimizer.lr=1e-3')
    assert result.returncode == 0, result.stderr[-3000:]
    assert 'loss_align' in result.stdout
    return folder / 'work_dirs/ila_token/epoch_1.pth'


def test_dist_train_with_two_processes(checkpoint):
    assert checkpoint.is_file()
    weights = torch.load(checkpoint, weights_only=True)['state_dict']
    frozen = weights['cls_head.text_encoder.tower.ln_final.weight']
    assert torch.equal(frozen, torch.ones_like(frozen))
    trained = weights['backbone.temporal.0.alignment.predictor.prediction.bn.'
                      'num_batches_tracked']
    assert trained.item() == 1


@pytest.fixture(scope='module')
def predictions(checkpoint):
    """What ``tools/test.py`` dumps."""
    result = run_tool('tools/test.py', 'ila_token.py', checkpoint, '--dump',
                      'out.pkl')
    assert result.returncode == 0, result.stderr[-3000:]
    with open('out.pkl', 'rb') as file:
        return pickle.load(file)


def test_test_dumps_averaged_views(predictions):
    assert [int(entry['gt_label']) for entry in predictions] == [3, 399]
    for entry in predictions:
        assert entry['pred_score'].shape == (400, )
        torch.testing.assert_close(entry['pred_score'].sum(), torch.tensor(1.))


def test_other_decoder_and_compiled_bf16_predict_the_same(
        checkpoint, predictions):
    result = run_tool(
        'tools/test.py', 'ila_token.py', checkpoint, '--dump', 'fast.pkl',
        '--cfg-options', 'model.bf16=True', 'model.compile.backend=eager',
        'test_dataloader.dataset.pipeline.0.type=SafeDecordInit',
        'test_dataloader.dataset.pipeline.2.type=SafeDecordDecode')
    assert result.returncode == 0, result.stderr[-3000:]
    with open('fast.pkl', 'rb') as file:
        for expected, entry in zip(predictions, pickle.load(file)):
            torch.testing.assert_close(
                entry['pred_score'],
                expected['pred_score'],
                rtol=2e-2,
                atol=1e-4)


def test_training_goes_on_compiled_and_in_bf16(checkpoint, folder):
    result = dist_train(folder, 'ila_token.py', 2, '--resume', '--cfg-options',
                        'train_cfg.max_epochs=2', 'model.bf16=True',
                        'model.compile.backend=eager')
    assert result.returncode == 0, result.stderr[-3000:]
    assert 'resumed epoch: 1' in result.stdout
    assert (checkpoint.parent / 'epoch_2.pth').is_file()


def test_checkpoint_needs_no_text_tower(checkpoint, predictions):
    """It holds the text features, and the predictions are the same."""
    result = run_tool('tools/test.py', 'ila_token.py', checkpoint, '--dump',
                      'small.pkl', '--cfg-options',
                      'model.cls_head.text_encoder=None')
    assert result.returncode == 0, result.stderr[-3000:]
    with open('small.pkl', 'rb') as file:
        for expected, entry in zip(predictions, pickle.load(file)):
            torch.testing.assert_close(entry['pred_score'],
                                       expected['pred_score'])


def test_classes_are_swapped_by_one_option(checkpoint, folder):
    (folder / 'names.txt').write_text('riding a bike\nplaying guitar\n')
    (folder / 'two.txt').write_text('0 a.mp4 0\n1 a.mp4 1\n')
    command = [
        'tools/test.py', 'ila_token.py', checkpoint, '--dump', 'two.pkl',
        '--cfg-options', 'model.cls_head.class_names=names.txt',
        'test_dataloader.dataset.ann_file=two.txt',
        'test_dataloader.dataset.num_classes=2'
    ]
    result = run_tool(*command)
    assert result.returncode == 0, result.stderr[-3000:]
    with open('two.pkl', 'rb') as file:
        assert [entry['pred_score'].shape
                for entry in pickle.load(file)] == [(2, ), (2, )]
    # Without the tower there are no texts for them.
    result = run_tool(*command, 'model.cls_head.text_encoder=None')
    assert result.returncode == 1
    assert ('features of 400 texts (abseiling, air drumming), not of the 2 of '
            '`model.cls_head`' in result.stderr)


def test_training_starts_from_a_torchscript_archive(folder):
    """``load_from`` takes OpenAI's file, and no wrong one."""
    clip = {
        key: value
        for key, value in clip_of(load_reference('k400_tiny_t4_s0')
                                  [1]).items()
    }
    save_torchscript(clip, folder / 'ViT.pt')
    result = run_tool('tools/train.py', 'ila_token.py', '--cfg-options',
                      'load_from=ViT.pt', 'model.backbone.arch.num_layers=3',
                      'model.backbone.arch.embed_dims=128',
                      'model.backbone.arch.feedforward_channels=512',
                      'model.backbone.arch.num_heads=2',
                      'model.backbone.arch.patch_size=16',
                      'model.cls_head.patch_channels=128',
                      'model.cls_head.text_encoder.layers=2',
                      'work_dir=from_clip', 'optim_wrapper.optimizer.lr=0.')
    assert result.returncode == 0, result.stderr[-3000:]
    weights = torch.load(
        folder / 'from_clip/epoch_1.pth', weights_only=True)['state_dict']
    for key, value in convert_clip(clip).items():
        if key != 'backbone.image.model.pos_embed':
            torch.testing.assert_close(weights[key], value.half().float())
    assert weights['backbone.image.model.pos_embed'].shape == (1, 1 + 14 * 14,
                                                               128)

    result = run_tool('tools/train.py', 'ila_token.py', '--cfg-options',
                      'load_from=ViT.pt')
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("ViT.pt: the weights' 'backbone")
    assert 'fix `arch`' in last
    assert 'Traceback' not in result.stdout + result.stderr


def test_released_checkpoint_is_tested_as_it_is(folder, monkeypatch):
    """It gives what its conversion gives, and is read once."""
    read, load = [], checkpoint_files.load_data

    def count(file, *args, **kwargs):
        read.append(os.path.basename(file.name))
        return load(file, *args, **kwargs)

    monkeypatch.setattr(checkpoint_files, 'load_data', count)
    cfg = Config.fromfile(folder / 'ila_released.py')
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    torch.save(model.state_dict(), folder / 'own.pth')
    released, _ = ila_to_released(cfg.model, str(folder / 'own.pth'))
    torch.save(released, folder / 'released.pth')
    scores = []
    for name in ('own', 'released'):
        result = run_tool('tools/test.py', 'ila_released.py', f'{name}.pth',
                          '--dump', f'{name}.pkl')
        assert result.returncode == 0, result.stderr[-3000:]
        with open(folder / f'{name}.pkl', 'rb') as file:
            scores.append([entry['pred_score'] for entry in pickle.load(file)])
    assert all(map(torch.equal, *scores))
    assert read[-2:] == ['own.pth', 'released.pth']


def test_test_refuses_a_checkpoint_of_the_other_form(checkpoint):
    result = run_tool('tools/test.py', 'ila_released.py', checkpoint)
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith(f'{checkpoint}: the weights have none in their ')
    assert last.endswith('take the config that the weights were trained with')


def test_training_refuses_a_label_outside_the_classes(folder):
    bad = folder / 'bad.txt'
    bad.write_text('0 a.mp4 400\n')
    result = run_tool('tools/train.py', 'ila_token.py', '--cfg-options',
                      f'train_dataloader.dataset.ann_file={bad}')
    assert result.returncode != 0
    assert f'{bad}:1: label 400 is not in [0, 400)' in result.stderr
    assert 'Traceback' not in result.stdout + result.stderr
    assert 'Epoch(train)' not in result.stdout
