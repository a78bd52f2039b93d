"""The lists of published data sets, against MMAction2's own reading."""
import os
import shutil
from argparse import Namespace
from pathlib import Path

import pytest
from commands import run_tool
from modules import load_module
from official_data import make_all

from projects.ila.cli import load_mmaction_tool
from projects.ila.datasets import official_lists

ROOT = Path(__file__).resolve().parents[2]
BUILD = 'tools/data/build_dataset.py'
NAMES = dict(
    ucf101=['apply eye makeup', 'handstand pushups', 'yo yo'],
    hmdb51=['brush hair', 'climb', 'climb stairs'],
    diving48=[
        'back 1.5 somersaults 0.5 twists free', 'inward dive no twist pike',
        'reverse 2 somersaults 1 twist tuck'
    ],
    jester=['Swiping Left', 'No gesture', 'Doing other things'],
    charades=[f'Doing thing {index}' for index in range(157)])


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """The trees of all data sets, and what the tool prints for each."""
    root = tmp_path_factory.mktemp('official')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        results = {}
        for name, folder in make_all(root / 'data').items():
            videos = 'rawframes' if name == 'jester' else 'videos'
            results[name] = run_tool(BUILD, f'data/{name}/{videos}',
                                     '--dataset', name)
        yield Namespace(root=root, results=results)


def read(path):
    return Path(path).read_text().splitlines()


def test_every_data_set_is_made(made):
    assert load_module(ROOT / BUILD).CONFIGS.keys() == NAMES.keys()
    assert official_lists.SOURCES.keys() == NAMES.keys()
    for name, result in made.results.items():
        assert result.returncode == 0, result.stderr
        assert read(f'data/{name}/class_names.txt') == NAMES[name]


@pytest.mark.parametrize('name, function, arguments', [
    ('ucf101', 'parse_ucf101_splits', (2, )),
    ('hmdb51', 'parse_hmdb51_split', (2, )),
    ('diving48', 'parse_diving48_splits', ()),
    ('jester', 'parse_jester_splits', (1, )),
])
def test_labels_are_those_of_mmaction2(made, name, function, arguments):
    parse = load_mmaction_tool('data/parse_file_list.py')[function]
    expected = parse(*arguments)
    found = official_lists.name_lists(name)
    assert len(found) == len(expected)
    for files, parts in zip(found, expected):
        for file, part in zip(files, parts):
            lines = [line.split() for line in read(f'data/{name}/{file}')]
            assert [(os.path.splitext(line[0])[0], int(line[-1]))
                    for line in lines] == part


def test_missing_classes_are_printed(made):
    """Of Jester's three classes the validation has the second alone."""
    assert ("jester_val_list_rawframes.txt: no video of 2 of 3 classes, the "
            "first is 'Swiping Left'") in made.results['jester'].stdout


def test_frames_are_counted(made):
    assert read('data/jester/jester_train_list_rawframes.txt') == [
        '34870 37 2', '9 35 0'
    ]


def test_labels_of_a_video_are_its_actions(made):
    """Those of whole videos; one without an action is left out."""
    lists = [
        read(f'data/charades/charades_{part}_list_videos.txt')
        for part in ('train', 'val')
    ]
    assert lists == [['AAAAA.mp4 1 92', 'CCCCC.mp4 156'], ['DDDDD.mp4 0']]


def test_printed_files_are_those_that_were_written(made):
    printed = made.results['hmdb51'].stdout.splitlines()
    files = {line.split()[-1] for line in printed if ' lines in ' in line}
    assert files == {*map(str, Path('data/hmdb51').glob('*.txt'))}
    assert len(files) == 7
    assert '     3 lines in data/hmdb51/hmdb51_train_split_1_videos.txt' in (
        printed)


def build(*words):
    result = run_tool(BUILD, 'data/ucf101/videos', '--dataset', 'ucf101',
                      *words)
    return result.stderr


def test_lists_are_kept_without_force(made):
    assert build().startswith(
        'data/ucf101/ucf101_train_split_1_videos.txt exists already')
    assert not build('--force')


def test_videos_that_were_encoded_again_or_are_missing(made, tmp_path):
    shutil.copytree('data/ucf101', tmp_path / 'ucf101')
    videos = tmp_path / 'ucf101/videos'
    first, second = sorted(videos.glob('YoYo/*'))[1:3]
    first.rename(first.with_suffix('.mp4'))
    second.unlink()
    words = BUILD, videos, '--dataset', 'ucf101', '--force'
    result = run_tool(*words)
    assert f"'{second}' does not exist, one of 1 missing" in result.stderr
    assert f"put the videos into '{videos}'" in result.stderr
    assert run_tool(*words, '--skip-missing').returncode == 0
    before, after = ({*read(f'{folder}/ucf101_train_split_1_videos.txt')}
                     for folder in ('data/ucf101', tmp_path / 'ucf101'))
    name = f'YoYo/{first.name}'
    assert before - after == {f'{name} 2', f'YoYo/{second.name} 2'}
    assert after - before == {f"{name.replace('.avi', '.mp4')} 2"}


@pytest.mark.parametrize('name, file, text, message', [
    ('ucf101', 'classInd.txt', '1 Archery\n3 Biking\n',
     "classInd.txt:2: '3 Biking' is not class 2"),
    ('ucf101', 'classInd.txt', None, "classInd.txt' cannot be read"),
    ('ucf101', 'trainlist01.txt', 'YoYo/a.avi 3\nNoNo/a.avi 1\n',
     "trainlist01.txt:2: 'NoNo' is none of the 3 classes of"),
    ('ucf101', 'trainlist01.txt', 'YoYo/a.avi 1\n',
     "trainlist01.txt:1: 'YoYo' has number 1, but 3 in"),
    ('ucf101', 'testlist02.txt', 'a.avi\n',
     "testlist02.txt:1: 'a.avi' is not like 'ApplyEyeMakeup/"),
    ('ucf101', 'testlist03.txt', 'YoYo/a.avi\n',
     "testlist03.txt' has no video of class 'ApplyEyeMakeup'"),
    ('hmdb51', 'climb_test_split3.txt', 'a.avi 1\n',
     "_test_split3.txt' has no video of class 'climb'"),
    ('ucf101', 'testlist03.txt', '\n',
     "has no video for 'ucf101_val_split_3_videos.txt'"),
    ('hmdb51', 'climb_test_split2.txt', 'a.avi 3\n',
     "climb_test_split2.txt:1: 'a.avi 3' is not like"),
    ('hmdb51', 'climb_test_split2.txt', None, 'cannot be read'),
    ('diving48', 'Diving48_vocab.json', '[1]', 'is not a list of lists'),
    ('diving48', 'Diving48_vocab.json', '["Back"]', 'is not a list of lists'),
    ('diving48', 'Diving48_V2_test.json', '[{"vid_name": "a", "label": 3}]',
     'Diving48_V2_test.json:1: .*a number below 3'),
    ('diving48', 'Diving48_V2_test.json', '[', 'cannot be read as CSV or'),
    ('diving48', 'Diving48_V2_test.json', '[' * 99999, 'cannot be read as'),
    ('jester', 'jester-v1-train.csv', '9;No gesture\n9,No gesture\n',
     "train.csv:2: '9,No gesture' is not like '34870;Drumming Fingers'"),
    ('jester', 'jester-v1-train.csv', '9;No Gesture\n',
     "train.csv:1: 'No Gesture' is none of the 3 classes"),
    ('jester', 'jester-v1-train.csv', '8;No gesture\n', "8' does not exist"),
    ('charades', 'Charades_v1_classes.txt', 'Holding some clothes\n',
     "classes.txt:1: 'Holding some clothes' is not like"),
    ('charades', 'Charades_v1_classes.txt', 'c000 Hold\nc000 Drop\n',
     "classes.txt:2: 'c000' occurs twice"),
    ('charades', 'Charades_v1_train.csv', 'id,actions\nAAAAA,c157 0 1\n',
     "train.csv:2: 'c157' is none of the 157 classes"),
    ('charades', 'Charades_v1_train.csv', 'id,actions\nAAAAA,c1 0\n',
     "train.csv:2: action 'c1 0' is not like 'c092 11.90 21.20'"),
    ('charades', 'Charades_v1_train.csv', 'id,actions\nAAAAA\n',
     'line 2 has not the 2 columns'),
    ('charades', 'Charades_v1_train.csv', 'id,labels\nAAAAA,1\n',
     'train.csv:2: `id` or `actions` is missing'),
])
def test_bad_official_files(made, tmp_path, name, file, text, message):
    shutil.copytree(f'data/{name}/annotations', tmp_path / 'a')
    if text is None:
        (tmp_path / 'a' / file).unlink()
    else:
        (tmp_path / 'a' / file).write_text(text)
    folder = 'rawframes' if name == 'jester' else 'videos'
    with pytest.raises(ValueError, match=message) as error:
        official_lists.make_lists(name, f'data/{name}/{folder}',
                                  str(tmp_path / 'a'))
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('names, message', [
    (['00002.jpg', '00003.jpg'], "first frame is not '00001.jpg'"),
    (['00001.jpg', '00003.jpg'], "'00002.jpg' is missing between"),
    (['1.png'], "no image is named like '{:05}.jpg'"),
])
def test_bad_frames(made, tmp_path, names, message):
    for video in ('34870', '9', '100'):
        (tmp_path / video).mkdir()
        for name in names:
            (tmp_path / video / name).touch()
    with pytest.raises(ValueError, match=message) as error:
        official_lists.make_lists('jester', str(tmp_path),
                                  'data/jester/annotations')
    assert str(error.value).startswith(
        f"data/jester/annotations/jester-v1-train.csv:1: '{tmp_path}/34870'")


def test_bad_arguments(made):
    for words in (('b', ), ('--annotations', 'a', 'b'), ('--path', 'x'),
                  ('--classes', 'x'), ('--seed', 1)):
        result = run_tool(BUILD, 'a', *words, '--dataset', 'ucf101')
        assert result.returncode == 2
        assert '--dataset takes one FOLDER' in result.stderr
