"""The commands of README, training and checkpoints, with a small model.

Those of the other pages have tests of their own.
"""
import re
import shutil
from pathlib import Path

import pytest
import torch
from archives import save_torchscript
from commands import ROOT, run_command
from mmengine.config import Config
from mmengine.registry import init_default_scope
from small_project import find_missing, make_clip, run_small, shrink_configs
from videos import write_video

from mmaction.registry import MODELS
from projects.ila.apis import ila_to_released

# The first command trains what the others use.
PAGES = ('docs/training.md', 'README.md', 'docs/checkpoints.md')
CHECKPOINT = 'trained.pth'
# In this order, in the small model's folder.
REPLACED = {
    # The launchers pass these on: tests/tools/test_launchers.py.
    r'^(?:[A-Z_]+=\S+ +)*tools/dist_(train|test)\.sh (.*) 8\b':
    r'tools/\1.py \2',
    r'^tools/slurm_train\.sh PARTITION JOB_NAME': 'tools/train.py',
    r'^python ': '',
    r'\bCHECKPOINT\b': CHECKPOINT,
    r'--layers 0 5 11': '--layers 0',
    r'=\[8,9,10,11\]': '=[0]',
    r'--level 3': '--level 3 --train 12 --val 12',
}
# Elsewhere run: the Makefile's targets by CI, benchmarks by
# test_benchmarks.py, sharded trainings by tests/tools/test_strategies.py and
# other backbones by tests/models/backbones/test_ila_image_backbone.py.
ELSEWHERE = r'(make|python benchmarks/|\S+ configs/(sharded|generality)/)'


def read_blocks(language):
    for page in PAGES:
        text = (ROOT / page).read_text()
        yield from re.findall(f'```{language}\n(.*?)```', text, re.S)


def read_commands():
    lines = ''.join(read_blocks('shell')).replace('\\\n', '').splitlines()
    lines = [line for line in lines if not line.startswith('#')]
    return [line for line in lines if not re.match(ELSEWHERE, line)]


def to_small(line):
    for pattern, replacement in REPLACED.items():
        line = re.sub(pattern, replacement, line)
    return line


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
            exec(block.replace("'CHECKPOINT'", repr(CHECKPOINT)), {})


def test_settings_of_a_config_train(outputs):
    base = "_base_ = ['ila_vitb16_k400.py']\n"
    block, = (block for block in read_blocks('python') if '_base_' in block)
    Path('configs/averaged.py').write_text(base + block)
    code, _ = run_command('tools/train.py configs/averaged.py')
    assert code == 0
    checkpoint = torch.load(
        'work_dirs/averaged/epoch_1.pth', weights_only=True)
    assert 'ema_state_dict' in checkpoint
    rates = {group['lr'] for group in checkpoint['optimizer']['param_groups']}
    assert len(rates) > 2


def test_both_languages_have_the_same_commands_and_numbers():
    english, chinese = ((ROOT / name).read_text()
                        for name in ('README.md', 'README_zh-CN.md'))
    for pattern in ('```(?:shell|python)\n.*?```', r'^\| `ila_.*?$'):
        blocks = [
            re.sub(r' *#.*', '',
                   '\n'.join(re.findall(pattern, text, re.S | re.M)))
            for text in (english, chinese)
        ]
        assert blocks[0] == blocks[1] != ''
    links = [
        sorted(re.findall(r'\]\((.*?)\)', text)) for text in (english, chinese)
    ]
    links[0].remove('README_zh-CN.md')
    links[1].remove('README.md')
    assert links[0] == links[1]
    for link in links[0]:
        assert link.startswith('https://') or (ROOT / link).exists(), link
