import json
import os
import random
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from commands import run_tool
from mmengine.config import Config, DictAction
from modules import load_module
from videos import write_video

from mmaction.registry import DATASETS
from projects.ila.datasets import annotations
from projects.ila.datasets.annotations import Entry
from projects.ila.datasets.dataset_building import draw_split
from projects.ila.models.text import load_class_names

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / 'tools/data/build_dataset.py'
CUSTOM = ROOT / 'configs/ila_vitb16_custom.py'
SMALL = f'''
_base_ = ['{CUSTOM}']
model = dict(
    backbone=dict(
        arch=dict(
            _delete_=True,
            embed_dims=64,
            num_layers=2,
            num_heads=1,
            feedforward_channels=64,
            patch_size=32,
            out_channels=512)),
    cls_head=dict(patch_channels=64, text_encoder=dict(layers=1)))
load_from = None
train_cfg = dict(max_epochs=1)
train_dataloader = dict(num_workers=1)
val_dataloader = dict(num_workers=1)
test_dataloader = dict(num_workers=1)
'''

tool = load_module(TOOL)


@pytest.fixture
def build(monkeypatch, capsys, tmp_path):
    """Run the tool in an own folder and return what it prints."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, 'argv', [str(TOOL), *arguments])
        tool.main()
        return capsys.readouterr().out

    return run


@pytest.fixture(scope='module')
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp('video') / 'a.mp4', 10)


def touch(*paths):
    """Make files that the tool, which opens none, takes for videos."""
    for path in paths:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).touch()


def read(path):
    return Path(path).read_text().splitlines()


@pytest.mark.parametrize('fraction', [0.01, 0.2, 0.5, 0.99])
def test_split_is_stratified(fraction):
    sizes = [2, 3, 5, 10, 33]
    entries = [
        Entry('', 0, f'{label}/{index}', label)
        for label, size in enumerate(sizes) for index in range(size)
    ]
    train, val = draw_split(entries, fraction, seed=0)
    assert sorted(train + val) == sorted(entries)
    for label, size in enumerate(sizes):
        count = sum(entry.label == label for entry in val)
        assert 1 <= count <= size - 1
        # As near to the fraction as whole numbers between these can be.
        assert all(
            abs(count - fraction * size) <= abs(other - fraction * size)
            for other in range(1, size))


def test_split_depends_on_the_seed_alone():
    entries = [
        Entry('', 0, f'{label}/{index}', label) for label in range(3)
        for index in range(20)
    ]
    shuffled = random.Random(0).sample(entries, len(entries))
    first = draw_split(entries, 0.2, 0)
    assert draw_split(shuffled, 0.2, 0) == first
    assert draw_split(entries, 0.2, 1) != first
    # Not the first or the last videos of each class.
    drawn = {entry.path.partition('/')[2] for entry in first[1]}
    assert len(drawn) > 4


def test_absolute_paths_in_an_annotation_file(build, tmp_path):
    touch('v/a.mp4', 'v/b.mp4', 'v/c.mp4', 'v/d.mp4')
    lines = [f'{tmp_path}/v/{x}.mp4,{y}' for x, y in zip('abcd', 'xxyy')]
    Path('a.csv').write_text('\n'.join(['path,label', *lines]))
    build('v', '--annotations', 'a.csv', '--out', 'out')
    listed = read('out/train_list.txt') + read('out/val_list.txt')
    assert sorted(listed) == ['a.mp4 0', 'b.mp4 0', 'c.mp4 1', 'd.mp4 1']


def test_annotations_are_not_replaced(build, tmp_path):
    touch('v/a.mp4', 'v/b.mp4')
    for split, name in (('train', 'a'), ('val', 'b')):
        Path(f'{split}.csv').write_text(f'path,label\n{name}.mp4,x\n')
    before = read('train.csv')
    with pytest.raises(SystemExit, match="train.csv' is an input, which wou"):
        build('v', '--annotations', 'train.csv', 'val.csv', '--out', '.',
              '--list-name', '{split}.csv', '--force')
    assert read('train.csv') == before


def test_class_folders(build, video):
    """Paths with blanks reach the data set, classes are in natural order."""
    expected = {}
    names = dict(zip(('Zoo', 'jump_2', 'jump 10', 'riding_bike'), range(4)))
    for name, label in names.items():
        for path in ('a  b 1.mp4', 'c 2.MP4'):
            path = Path('videos') / name / path
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(video, path)
            expected[str(path)] = label
    touch('videos/.cache/x.mp4', 'videos/Zoo/.hidden.mp4',
          'videos/Zoo/notes.txt')
    printed = build('videos')
    assert load_class_names('videos/class_names.txt') == [
        'Zoo', 'jump 2', 'jump 10', 'riding bike'
    ]
    found = {}
    for split in ('train', 'val'):
        dataset = DATASETS.build(
            dict(
                type='ILAVideoDataset',
                ann_file=f'videos/{split}_list.txt',
                data_prefix=dict(video='videos'),
                num_classes=4,
                pipeline=[dict(type='SafePyAVInit')]))
        assert len(dataset) == 4
        for index in range(4):
            info = dataset[index]
            assert info['total_frames'] == 10
            found[info['filename']] = info['label']
    assert found == expected
    table = [line.split() for line in printed.splitlines()[1:6]]
    assert table == [['0', 'Zoo', '1', '1'], ['1', 'jump', '2', '1', '1'],
                     ['2', 'jump', '10', '1', '1'],
                     ['3', 'riding', 'bike', '1', '1'], ['all', '4', '4']]


def test_given_split(build):
    touch('data/train/b/1.mp4', 'data/train/b/2.mp4', 'data/train/a_a/1.mp4',
          'data/val/b/1.mp4', 'data/val/a a/1.webm')
    build('data')
    assert read('data/train_list.txt') == [
        'train/a_a/1.mp4 0', 'train/b/1.mp4 1', 'train/b/2.mp4 1'
    ]
    assert read('data/val_list.txt') == ['val/a a/1.webm 0', 'val/b/1.mp4 1']
    assert read('data/class_names.txt') == ['a a', 'b']
    # Two folders have prefixes of their own.
    printed = build('data/train', 'data/val/', '--list-name', '{split}.txt',
                    '--force')
    assert read('data/val.txt') == ['a a/1.webm 0', 'b/1.mp4 1']
    assert 'val_dataloader.dataset.data_prefix.video=data/val/\n' in (
        printed.replace(' \\', ''))


def test_folders_named_train_and_val_may_be_classes(build):
    touch(*(f'data/{name}/{index}.mp4' for name in ('train', 'val', 'bus')
            for index in range(2)))
    build('data')
    assert read('data/class_names.txt') == ['bus', 'train', 'val']


def test_annotation_files_of_all_forms_agree(build):
    rows = {
        'a, b.mp4': 'riding a bike',
        'sub/c.mp4': 'jumping',
        'd.mp4': 'jumping',
        'sub/e.mp4': 'riding a bike'
    }
    touch(*(f'videos/{path}' for path in rows))
    # As spreadsheets write it.
    Path('1.csv').write_text('\ufefflabel,path,note\r\n' +
                             ''.join(f'{label},"{path}",\r\n'
                                     for path, label in rows.items()))
    Path('2.json').write_text(json.dumps(rows))
    Path('3.json').write_text(
        json.dumps([dict(path=path, label=rows[path]) for path in rows]))
    Path('4.json').write_text(
        json.dumps([
            dict(
                id=path[:-4],
                label='a man rides',
                template=rows[path].replace('a ', '[a] ')) for path in rows
        ]))
    names = {'jumping': 0, 'riding a bike': 1}
    Path('5.json').write_text(json.dumps({p: names[rows[p]] for p in rows}))
    Path('names.json').write_text(
        json.dumps({x: str(names[x])
                    for x in names}))
    options = {4: ('--path', '{id}.mp4'), 5: ('--classes', 'names.json')}
    for number, suffix in enumerate(('csv', *['json'] * 4), 1):
        build('videos', '--annotations', f'{number}.{suffix}', '--out',
              str(number), *options.get(number, ()))
        assert read(f'{number}/class_names.txt') == [*names]
        lines = read(f'{number}/train_list.txt')
        lines += read(f'{number}/val_list.txt')
        assert sorted(lines) == sorted(f'{path} {names[label]}'
                                       for path, label in rows.items())
        for name in ('train_list', 'val_list'):
            assert read(f'{number}/{name}.txt') == read(f'1/{name}.txt')


def test_numbers_without_names(build):
    touch(*(f'v/{index}.mp4' for index in range(22)))
    Path('a.csv').write_text('path,label\n' + ''.join(f'{x}.mp4,{x % 11}\n'
                                                      for x in range(22)))
    printed = build('v', '--annotations', 'a.csv')
    assert 'give --classes' in printed
    assert read('v/class_names.txt') == [str(x) for x in range(11)]
    lines = read('v/train_list.txt') + read('v/val_list.txt')
    assert sorted(lines) == sorted(f'{x}.mp4 {x % 11}' for x in range(22))


def test_lines_that_are_left_out(build):
    touch('v/a.mp4', 'v/b.mp4', 'v/1.mp4')
    Path('a.csv').write_text('path,label\na.mp4,x\nb.mp4,x\ngone.mp4,y\n'
                             './a.mp4,x\n1,y\n')
    Path('names.txt').write_text('y\nunused\nx\n')
    with pytest.raises(SystemExit, match="classes 'y' have fewer"):
        build('v', '--annotations', 'a.csv', '--skip-missing')
    touch('v/2.mp4')
    with open('a.csv', 'a') as file:
        file.write('2.mp4,y\n')
    printed = build('v', '--annotations', 'a.csv', '--skip-missing',
                    '--classes', 'names.txt')
    assert '1 missing videos are left out' in printed
    assert '1 repeated videos are left out' in printed
    assert sorted(read('v/train_list.txt') + read('v/val_list.txt')) == [
        '1.mp4 0', '2.mp4 0', 'a.mp4 2', 'b.mp4 2'
    ]


def test_lists_are_kept_without_force(build):
    touch('v/a/1.mp4', 'v/a/2.mp4', 'v/b/1.mp4', 'v/b/2.mp4')
    Path('v/val_list.txt').write_text('mine')
    with pytest.raises(SystemExit, match='v/val_list.txt exists already'):
        build('v')
    assert read('v/val_list.txt') == ['mine']
    assert not Path('v/train_list.txt').exists()
    build('v', '--force')
    assert len(read('v/val_list.txt')) == 2
    assert not list(Path('v').glob('*.partial'))


GOOD = ('v/a/1.mp4', 'v/a/2.mp4', 'v/b/1.mp4', 'v/b/2.mp4')


@pytest.mark.parametrize('files, options, message', [
    (GOOD, 'w', "folder 'w' does not exist"),
    (('v/a.txt', ), 'v', "folder 'v' holds no video"),
    (GOOD + ('v/c/x.txt', ), 'v', "folders 'c' in 'v' hold no video"),
    (GOOD[:-1], 'v', "classes 'b' have fewer videos than the 2 .* both"),
    (GOOD + ('v/3.mp4', ), 'v', "'v/3.mp4' does not lie in a class's folder"),
    (GOOD + ('v/a/x/3.mp4', ), 'v', "'v/a/x/3.mp4' does not lie in"),
    (('v/train/a/1.mp4', 'v/test/a/1.mp4'), 'v', "'v/test/a/1.mp4' does not"),
    (GOOD + ('v/a_b/1.mp4', 'v/a b/1.mp4'), 'v',
     "folders 'a b', 'a_b' in 'v' would be class 'a b'; rename"),
    (GOOD + ('v/_/1.mp4', ), 'v', "folders '_' in 'v' would be class ''"),
    (('v/train/a/1.mp4', 'v/val/b/1.mp4'), 'v',
     "classes 'b' have fewer videos than the 1 that they need for `train`"),
    (('v/train/a/1.mp4', 'v/val/a/1.mp4', 'v/train/b/1.mp4'), 'v',
     "classes 'b' have fewer videos than the 1 that they need for `val`"),
    (GOOD, 'v --classes names.txt', "v: label 'b' is none of the 2 cla"),
    (GOOD, 'v --classes kinetics40', "'kinetics40' is neither"),
    (GOOD, 'v --out v/a/1.mp4/x', "cannot write 'v/a/1.mp4.*another place"),
    (('v/a/1\n.mp4', 'v/a/2.mp4'), 'v', r"'v/a/1\\n.mp4' cannot stand"),
    (('v/ a/1.mp4', 'v/ a/2.mp4'), 'v', "'v/ a/..mp4' cannot stand in"),
])
def test_bad_folders(build, files, options, message):
    touch(*files)
    Path('names.txt').write_text('a\nc\n')
    with pytest.raises(SystemExit, match=message) as error:
        build(*shlex.split(options))
    assert '\n' not in error.value.code
    assert not list(Path().rglob('*_list.txt*'))
    assert not list(Path().rglob('class_names.txt*'))


@pytest.mark.parametrize('name, text, options, message', [
    ('none.csv', None, '', "'none.csv' cannot be read .*No such file"),
    ('a.csv', '', '', "'a.csv' is empty"),
    ('a.csv', 'path,label\n', '', "'a.csv' is empty"),
    ('a.csv', 'path;label\na/1.mp4;x', '', 'a.csv:2: there is no label'),
    ('a.csv', 'file,label\na/1.mp4,x', '',
     'a.csv:2: there are only file, label; it needs `path`'),
    ('a.csv', 'path,label\na/1.mp4,x\na/2.mp4', '', 'line 3 has not the 2'),
    ('a.csv', 'path,label\na/1.mp4,x,y', '', 'line 2 has not the 2'),
    ('a.csv', 'path,label\na/1.mp4,', '', 'a.csv:2: path or label is empty'),
    ('a.csv', 'path,label\na/1.mp4,x\n./a/1.mp4,y', '',
     "a.csv:2: 'v/a/1.mp4', two labels: label x, but y .* a.csv:3"),
    ('a.csv', 'path,label\na/1.mp4,x\na/9.mp4,x', '',
     "a.csv:3: 'v/a/9.mp4' does not exist, one of 1 missing files of 2"),
    ('a.csv', 'path,label\na/9.mp4,x', '--skip-missing',
     "not one video is there, 'v/a/9.mp4'"),
    ('a.csv', 'path,label\na/1.mp4,0\na/2.mp4,-1', '',
     "a.csv:3: label '-1' is not a number from 0, as '0' is"),
    ('a.csv', 'path,label\na/1.mp4,1\na/2.mp4,2', '',
     "a.csv:3: label '2' is none of the 2 classes"),
    ('a.csv', 'path,label\na/1.mp4,2', '--classes names.txt',
     "a.csv:2: label '2' is none of the 2 classes 'a', 'b'"),
    ('a.csv', 'path,label\na/1.mp4,ab', '--classes names.txt',
     "label 'ab' is none of the 2 classes"),
    ('a.csv', 'path,label\na/1.mp4,a', '--path {name}', 'there are only path'),
    ('a.csv', 'path,label\na/1.mp4,a', '--path {0}', '--path .*positional'),
    ('a.csv', b'path,label\n\xff.mp4,a', '',
     "a.csv:2: byte 1 .0xff. is not UTF-8"),
    ('a.json', '{"a/1.mp4": 0', '', "'a.json' cannot be read as CSV or JSON"),
    ('a.json', '{"a/1.mp4": 0, "a/1.mp4": 1}', '', "'a/1.mp4' occurs 2 times"),
    ('a.json', '["a/1.mp4"]', '', "'a.json' is neither a list of objects"),
    ('a.json', '[]', '', "'a.json' is empty"),
    ('a.json', '{"a/1.mp4": 1.5}', '', 'a.json:1: there is no label'),
    ('a.json', '{"a/1.mp4": [0]}', '', 'a.json:1: there is no label'),
    ('a.json', '[{"id": "1", "template": null}]', '', 'there is no label'),
    ('a.json', '{"a/1.mp4": "x"}', '--classes gap.json',
     "'gap.json' has no class 1"),
])
def test_bad_annotation_files(build, name, text, options, message):
    touch(*GOOD)
    Path('names.txt').write_text('a\nb\n')
    Path('gap.json').write_text('{"x": "0", "y": "2"}')
    if text is not None:
        Path(name).write_bytes(
            text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SystemExit, match=message) as error:
        build('v', '--annotations', name, *shlex.split(options))
    assert '\n' not in error.value.code
    assert not list(Path().rglob('*_list.txt*'))


def test_video_of_both_parts_is_refused(build):
    touch(*GOOD)
    for name in ('train.csv', 'val.csv'):
        Path(name).write_text('path,label\na/1.mp4,x\n')
    with pytest.raises(
            SystemExit,
            match="val.csv:2: .*, in two lists: the "
            'same as v/a/1.mp4 of train.csv:2'):
        build('v', '--annotations', 'train.csv', 'val.csv')


def test_bad_arguments(build, capsys):
    for arguments in (('v', '--val-fraction',
                       '1'), ('a', 'b', 'c'), ('v', '--list-name', 'list.txt'),
                      ('a', 'b', '--annotations', 'a.csv'), ('a', './a'),
                      ('a', '--annotations', 'a.csv', 'a.csv')):
        with pytest.raises(SystemExit) as error:
            build(*arguments)
        assert error.value.code == 2
        assert 'error: ' in capsys.readouterr().err.splitlines()[-1]


@pytest.fixture
def commands(build):
    """The printed commands, as lists of words."""
    for index in range(6):
        path = Path('my-data', ('a', 'b', 'riding_bike')[index % 3],
                    f'{index} x.mp4')
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, 8 + index)
    lines = build('my-data').replace('\\\n', '').splitlines()
    return [shlex.split(x) for x in lines if x.startswith('python ')]


def test_printed_options_change_all_that_the_template_has(commands):
    cfg = Config.fromfile(CUSTOM)
    options = dict(x.split('=', 1) for x in commands[1] if '=' in x)
    cfg.merge_from_dict(
        {key: DictAction._parse_iterable(options[key])
         for key in options})
    settings = json.dumps([cfg.model.to_dict()] + [
        cfg[f'{split}_dataloader'].to_dict()
        for split in ('train', 'val', 'test')
    ])
    assert 'data/custom' not in settings
    # Named in the hint for left and right.
    assert cfg.train_dataloader.dataset.mirror


def test_printed_options_are_those_that_differ(build):
    """Where the template has the paths, there is nothing to change."""
    touch('data/custom/videos/a/1.mp4', 'data/custom/videos/a/2.mp4')
    printed = build('data/custom/videos', '--out', 'data/custom',
                    '--list-name', '{split}.txt')
    command, = re.findall('python .*train.py .*', printed)
    assert command.endswith('configs/ila_vitb16_custom.py')


def test_printed_commands_run(commands, monkeypatch):
    """From any folder, with a small model in place of CLIP's."""
    check, train = commands
    assert Path(check[1]).resolve() == ROOT / 'tools/data/check_videos.py'
    monkeypatch.setattr(sys, 'argv', check[1:])
    with pytest.raises(SystemExit) as error:
        load_module(Path(check[1])).main()
    assert error.value.code == 0

    assert Path(train[2]).resolve() == CUSTOM
    Path('small.py').write_text(SMALL)
    result = run_tool(Path(train[1]).resolve(), 'small.py', *train[3:])
    assert result.returncode == 0, result.stderr[-3000:]
    assert Path('work_dirs/small/epoch_1.pth').is_file()
    assert 'acc/top1' in result.stdout


def test_no_training_command_for_a_path_that_options_do_not_take(build):
    touch('my own, data/a/1.mp4', 'my own, data/a/2.mp4')
    printed = build('my own, data')
    assert 'rename the folder' in printed
    assert 'tools/train.py' not in printed
    check = shlex.split(
        printed.partition('python ')[2].replace('\\\n', '').splitlines()[0])
    assert check[1] == 'my own, data/val_list.txt'


def test_names_that_are_not_utf8(build):
    """Those of files stay as they are, those of classes are refused."""
    touch('v/a/caf\udce9 1.mp4', 'v/a/2.mp4', 'v/b/1.mp4', 'v/b/2.mp4')
    build('v')
    lists = b''.join(path.read_bytes()
                     for path in Path('v').glob('*_list.txt'))
    assert b'a/caf\xe9 1.mp4 0\n' in lists
    for split in ('train', 'val'):
        path = f'v/{split}_list.txt'
        entries, problems = annotations.parse_list(
            annotations.read_list(path), path, 'v')
        assert all(os.path.isfile(entry.path) for entry in entries)
        assert (len(entries), problems) == (2, [])
    Path('v/b').rename('v/\udce9')
    with pytest.raises(SystemExit, match='0xe9. is not UTF-8; rename the cl'):
        build('v', '--force')


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16', 'utf-32'])
def test_encodings_of_annotations(build, encoding):
    touch('v/é1.mp4', 'v/é2.mp4', 'v/x1.mp4', 'v/x2.mp4')
    rows = {'é1.mp4': 'é', 'é2.mp4': 'é', 'x1.mp4': 'x', 'x2.mp4': 'x'}
    lines = ['path,label', *(f'{path},{rows[path]}' for path in rows)]
    Path('a.csv').write_bytes('\r\n'.join(lines).encode(encoding))
    Path('a.json').write_bytes(
        json.dumps(rows, ensure_ascii=False).encode(encoding))
    for name in ('a.csv', 'a.json'):
        build('v', '--annotations', name, '--force')
        assert Path('v/class_names.txt').read_text('utf-8') == 'x\né\n'
