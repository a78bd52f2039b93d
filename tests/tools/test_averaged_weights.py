"""Averaged weights are tested as MMEngine tests them."""
import pickle

import pytest
import torch
from commands import ROOT, run_command
from mmengine.config import Config
from mmengine.runner import Runner
from videos import write_video

CONFIG = f'''
_base_ = ['{ROOT}/tests/data/tiny_motion.py']
train_dataloader = dict(
    batch_size=2,
    dataset=dict(ann_file='list.txt', data_prefix=dict(video='.')))
val_dataloader = None
val_evaluator = None
val_cfg = None
pipeline = _base_.val_pipeline
pipeline[3].update(scale=(32, 32), keep_ratio=False)
pipeline[4].crop_size = 32
pipeline[1].clip_len = 4
train_dataloader['dataset']['pipeline'] = pipeline
test_dataloader = train_dataloader
default_hooks = dict(checkpoint=dict(save_best=None))
work_dir = 'run'
train_cfg = dict(max_epochs=3)
custom_hooks = _base_.custom_hooks + [dict(type='EMAHook', momentum=0.2)]
'''


def read(path):
    with open(path, 'rb') as file:
        return torch.stack(
            [entry['pred_score'] for entry in pickle.load(file)])


def test_folded_average_predicts_what_mmengine_does(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for index in range(4):
        write_video(tmp_path / f'{index}.mp4', 12, (64, 48))
    (tmp_path / 'list.txt').write_text(''.join(f'{index}.mp4 {index}\n'
                                               for index in range(4)))
    (tmp_path / 'ema.py').write_text(CONFIG)
    assert run_command('tools/train.py ema.py')[0] == 0
    run_command('tools/test.py ema.py run/epoch_3.pth --dump folded.pkl')

    cfg = Config.fromfile('ema.py')
    cfg.load_from = 'run/epoch_3.pth'
    cfg.test_evaluator = dict(type='DumpResults', out_file_path='whole.pkl')
    runner = Runner.from_cfg(cfg)
    runner.test()
    torch.testing.assert_close(read('folded.pkl'), read('whole.pkl'))

    # They are what is shared.
    command = 'tools/deployment/publish_model.py ema.py run/epoch_3.pth shared'
    assert run_command(command)[0] == 0
    run_command('tools/test.py ema.py shared --dump shared.pkl')
    assert torch.equal(read('shared.pkl'), read('folded.pkl'))
    card = (tmp_path / 'shared/README.md').read_text()
    assert '| videos | 4 |' in card and '| versions | python 3.' in card

    # The weights that were not averaged predict something else.
    checkpoint = torch.load('run/epoch_3.pth', weights_only=True)
    torch.save(
        {
            name[len('module.'):]: value
            for name, value in checkpoint['ema_state_dict'].items()
            if name.startswith('module.')
        }, 'last.pth')
    run_command('tools/test.py ema.py last.pth --dump last.pkl')
    with pytest.raises(AssertionError):
        torch.testing.assert_close(read('last.pkl'), read('whole.pkl'))
