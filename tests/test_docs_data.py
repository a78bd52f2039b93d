"""The commands of docs/data.md on small data."""
import json
import re
from pathlib import Path

import pytest
import torch
from archives import save_torchscript
from commands import ROOT, find_commands, run_command
from mmengine.config import Config
from mmengine.registry import init_default_scope
from official_data import make_all
from small_project import make_clip, shrink_configs
from videos import write_video

from mmaction.registry import DATASETS, MODELS
from projects.ila.models.text import load_class_names
from projects.ila.weights import remote_file

TEXT = (ROOT / 'docs/data.md').read_text()
COMMANDS = find_commands(TEXT)
K400 = load_class_names('kinetics400')
# By their names the configs would be those of the full size.
REPLACED = {
    r'\b(clip_vitb16_zeroshot|ila_vitb16_ucf101)\b': r'configs/\1.py',
    r'\bCHECKPOINT\b': 'checkpoint.pth',
    'epoch_50.pth': 'epoch_1.pth',
}
TEMPLATES = ('Closing [something]', 'Pushing [something] off of [something]',
             'Holding [something]')


def make_custom(root):
    folder = root / 'custom/videos'
    rows = {}
    for index, name in enumerate(('riding_bike', 'jump_10', 'jump_2')):
        for take in (1, 2, 3):
            path = f'{name}/{take} a.mp4'
            (folder / name).mkdir(parents=True, exist_ok=True)
            write_video(folder / path, 8 + 3 * index + take)
            rows[path] = name.replace('_', ' ')
    lines = [f'{path},{label}\n' for path, label in rows.items()]
    (root / 'custom/videos.csv').write_text('path,label\n' + ''.join(lines))
    (root / 'custom/videos.json').write_text(json.dumps(rows))
    for split, frames in (('train', 20), ('val', 21)):
        for index in (0, 1):
            path = root / f'split/{split}/class {index}/a.mp4'
            path.parent.mkdir(parents=True)
            write_video(path, frames + 2 * index)


def make_kinetics(root, name, classes):
    """Two classes, and one clip that is missing in each part."""
    folder = root / name
    (folder / 'annotations').mkdir(parents=True)
    frames = 8
    for split, column in (('train', 'train'), ('val', 'validate')):
        (folder / f'videos_{split}').mkdir()
        lines = ['label,youtube_id,time_start,time_end,split,is_cc']
        for index, clip in enumerate(('-a_' + split, 'bb' + split, 'cc')):
            label = classes[5 * (index % 2)]
            lines.append(f'"{label}",{clip},{index},{index + 10},{column},0')
            if clip != 'cc':
                frames += 1
                write_video(
                    folder / f'videos_{split}' /
                    f'{clip}_{index:06}_{index + 10:06}.mp4', frames)
        (folder / f'annotations/{split}.csv').write_text('\n'.join(lines))


def make_sthv2(root):
    folder = root / 'sthv2'
    (folder / 'annotations').mkdir(parents=True)
    (folder / 'videos').mkdir()
    names = {
        re.sub(r'\W+', ' ', template).strip(): str(index)
        for index, template in enumerate(TEMPLATES)
    }
    stem = folder / 'annotations/something-something-v2-'
    Path(f'{stem}labels.json').write_text(json.dumps(names))
    for start, split in ((10, 'train'), (20, 'validation')):
        entries = []
        for index, template in enumerate(TEMPLATES):
            number = str(start + index)
            write_video(
                folder / f'videos/{number}.webm', start + index, fourcc='VP80')
            entries.append(
                dict(
                    id=number,
                    label=re.sub(r'\[\w+\]', 'a box', template).lower(),
                    template=template,
                    placeholders=['a box'] * template.count('[')))
        Path(f'{stem}{split}.json').write_text(json.dumps(entries))


def make_models(folder):
    """Small configs in the working directory, and weights for them."""
    shrink_configs(folder)
    with open('configs/_base_/schedules/adamw_50e.py', 'a') as file:
        file.write("train_cfg['max_epochs'] = 1\n")
    save_torchscript(make_clip(), 'ViT-B-16.pt')
    init_default_scope('mmaction')
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile('configs/ila_vitb16_k400.py').model)
    model.init_weights()
    torch.save(model.state_dict(), 'checkpoint.pth')


def run(command):
    for pattern, replacement in REPLACED.items():
        command = re.sub(pattern, replacement, command)
    return run_command(command)


@pytest.fixture(scope='module')
def outputs(tmp_path_factory):
    """Run all commands; give the exit code of each and what it printed."""
    folder = tmp_path_factory.mktemp('docs')
    make_custom(folder / 'data')
    make_kinetics(folder / 'data', 'kinetics400', K400)
    classes = [f'class {index}' for index in range(600)]
    make_kinetics(folder / 'data', 'kinetics600', classes)
    (folder / 'data/kinetics600/label_map_k600.txt').write_text(
        '\n'.join(classes))
    make_sthv2(folder / 'data')
    make_all(folder / 'data')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        make_models(folder)
        patch.setattr(remote_file, '_fetch_from_hub',
                      lambda repository, *files: 'ViT-B-16.pt')
        yield folder, [run(command) for command in COMMANDS]


def test_all_commands_run(outputs):
    assert len(COMMANDS) == TEXT.count('python tools/')
    for (code, _), command in zip(outputs[1], COMMANDS):
        # Two of Kinetics' 400 classes have videos.
        assert code == ('kinetics400' in command
                        and 'check_videos.py' in command), command


@pytest.mark.parametrize('config, lengths, first', [
    ('ila_vitb16_k400.py', (2, 2), ('-a_train_000000_000010.mp4', 0)),
    ('ila_vitb16_k600.py', (2, 2), ('-a_train_000000_000010.mp4', 0)),
    ('ila_vitb16_ssv2.py', (3, 3), ('10.webm', 0)),
    ('ila_vitb16_custom.py', (6, 3), None),
    ('ila_vitb16_ucf101.py', (12, 3), ('v_ApplyEyeMakeup_g02_c01.avi', 0)),
    ('ila_vitb16_hmdb51.py', (3, 3), ('#10_(a)!_brush_hair_f_np1.avi', 0)),
    ('ila_vitb16_32f_diving48.py', (4, 2), ('-train_00000.mp4', 2)),
    ('ila_vitb16_32f_charades.py', (2, 1), None),
    ('ila_vitb16_jester.py', (2, 1), None),
])
def test_configs_find_what_the_commands_made(outputs, config, lengths, first):
    cfg = Config.fromfile(ROOT / 'configs' / config)
    for split, length in zip(('train', 'val', 'test'), lengths + lengths[1:]):
        dataset = DATASETS.build(cfg[f'{split}_dataloader'].dataset)
        assert len(dataset) == length
        assert dataset[length - 1]['inputs'].ndim == 5
        if split == 'train' and first:
            info = dataset.get_data_info(0)
            assert (Path(info['filename']).name, info['label']) == first


def test_classes(outputs):
    data = outputs[0] / 'data'
    for name in ('custom', 'csv', 'json'):
        names = (data / name / 'class_names.txt').read_text()
        assert names == 'jump 2\njump 10\nriding bike\n'
    lists = [(data / 'kinetics400' /
              f'kinetics400_{split}_list_videos.txt').read_text()
             for split in ('train', 'val')]
    assert lists == [
        f'-a_{split}_000000_000010.mp4 0\nbb{split}_000001_000011.mp4 5\n'
        for split in ('train', 'val')
    ]
    assert (
        data /
        'kinetics400/class_names.txt').read_text().split('\n')[5] == K400[5]
    assert (data / 'sthv2/sthv2_val_list_videos.txt').read_text() == (
        '20.webm 0\n21.webm 1\n22.webm 2\n')
    assert (data / 'sthv2/class_names.txt').read_text() == (
        'Closing something\nPushing something off of something\n'
        'Holding something\n')
