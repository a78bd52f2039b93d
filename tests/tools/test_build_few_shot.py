import random
from collections import Counter
from pathlib import Path

import pytest
from commands import run_tool

from projects.ila.datasets import few_shot

TOOL = 'tools/data/build_few_shot.py'
# Three videos of class 0, and so on.
SIZES = 3, 20, 5, 20, 4


def make_lines(sizes=SIZES):
    return [
        f'class {label}/{index} 1.mp4 {label}'
        for label, size in enumerate(sizes) for index in range(size)
    ]


def read(path):
    return Path(path).read_text().splitlines()


def label_of(line):
    return int(line.rpartition(' ')[2])


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Run the tool beside a list of a training and one of a validation."""
    monkeypatch.chdir(tmp_path)
    Path('l').mkdir()
    lines = make_lines()
    random.Random(0).shuffle(lines)
    Path('l/train.txt').write_text('\n'.join(lines))
    Path('l/val.txt').write_text('\n'.join(make_lines((2, ) * 5)))
    Path('names.txt').write_text('a\nb\nc\nd\ne\n')

    def run(*words):
        return run_tool(TOOL, 'l/train.txt', *words)

    return run


def test_shots(build):
    result = build('--seeds', 0, 1)
    assert result.returncode == 0, result.stderr
    lists = {
        (shots, seed): read(f'l/train_{shots}shot_seed{seed}.txt')
        for shots in (2, 4, 8, 16)
        for seed in (0, 1)
    }
    for (shots, seed), lines in lists.items():
        assert {*lines} <= {*make_lines()} and len({*lines}) == len(lines)
        assert Counter(map(label_of, lines)) == {
            label: min(size, shots)
            for label, size in enumerate(SIZES)
        }
        assert {*lists[2, seed]} <= {*lines}
    assert lists[4, 0] != lists[4, 1]
    # Not the first ones of each class.
    assert {*lists[4, 0]} != {*make_lines((3, 4, 4, 4, 4))}
    assert '    10 lines in l/train_2shot_seed0.txt' in result.stdout
    # In whatever order they are listed.
    Path('l/train.txt').write_text('\n'.join(make_lines()))
    assert build('--shots', 4, '--out', 'again').returncode == 0
    assert read('again/train_4shot_seed0.txt') == lists[4, 0]
    assert 'exists already' in build('--shots', 4).stderr


def test_every_video_can_be_drawn():
    entries = [
        few_shot.Entry('', 1, '', 0, f'{index} 0') for index in range(6)
    ]
    drawn = Counter(
        few_shot.draw_shots(entries, 2, seed)[0].text for seed in range(600))
    assert len(drawn) == 6 and min(drawn.values()) > 60  # 100 are expected.


def test_base_and_novel_classes(build):
    """By videos for training: 3, 4, 5, 20, 20 of 0, 4, 2, 1, 3."""
    result = build('--shots', 16, '--seeds', 1, 2, '--base-to-novel',
                   'l/val.txt', '--classes', 'names.txt')
    assert result.returncode == 0, result.stderr
    assert read('l/class_names_novel.txt') == ['a', 'e']
    assert read('l/class_names_base.txt') == ['c', 'b', 'd']
    assert read('l/val_novel.txt') == [
        f'class {old}/{index} 1.mp4 {new}' for old, new in ((0, 0), (4, 1))
        for index in (0, 1)
    ]
    base = {2: 0, 1: 1, 3: 2}
    assert read('l/val_base.txt') == [
        f'class {old}/{index} 1.mp4 {base[old]}' for old in (1, 2, 3)
        for index in (0, 1)
    ]
    drawn = [read(f'l/train_base_16shot_seed{seed}.txt') for seed in (1, 2)]
    assert drawn[0] != drawn[1]
    for lines in drawn:
        assert Counter(map(label_of, lines)) == {0: 5, 1: 16, 2: 16}
        for line in lines:
            old = int(line.partition('/')[0].split()[1])
            assert label_of(line) == base[old]
    assert len([*Path('l').iterdir()]) == 8


def test_published_halves():
    """HMDB51 has 70 videos per class: ViFi-CLIP's novel classes are 0 to 24."""
    entries = [few_shot.Entry('', 0, '', x % 51) for x in range(51 * 70)]
    assert few_shot.halve_classes(entries,
                                  51) == ([*range(25, 51)], [*range(25)])


def test_lists_of_frames(build):
    Path('l/train.txt').write_text(''.join(f'{x} 37 {x % 2}\n'
                                           for x in range(10)))
    assert build('--shots', 3).returncode == 0
    lines = read('l/train_3shot_seed0.txt')
    assert [label_of(line) for line in lines] == [0] * 3 + [1] * 3
    assert all(int(line.split()[0]) % 2 == label_of(line) for line in lines)


def test_repeated_videos_are_left_out(build):
    Path('l/train.txt').write_text('a.mp4 0\n./a.mp4 0\nb.mp4 0\nc.mp4 1\n')
    result = build('--shots', 2)
    assert "1 repeated videos of 'l/train.txt'" in result.stdout
    assert {*read('l/train_2shot_seed0.txt')
            } == {'a.mp4 0', 'b.mp4 0', 'c.mp4 1'}


def test_inputs_are_not_replaced(build):
    Path('names.txt').rename('l/class_names_base.txt')
    words = ('--base-to-novel', 'l/val.txt', '--classes',
             'l/class_names_base.txt', '--force')
    assert 'is an input, which would be replaced' in build(*words).stderr
    Path('l/val.txt').write_text('a.mp4 0\n')
    assert "'out/val_base.txt' would be" in build(*words, '--out',
                                                  'out').stderr
    assert len(read('l/class_names_base.txt')) == 5


@pytest.mark.parametrize('text, words, code, message', [
    ('a.mp4 1\na.mp4 0\n', (), 1, "l/train.txt:1: 'a.mp4', two labels"),
    ('a.mp4 1\nb.mp4\n', (), 1, "l/train.txt:2: 'b.mp4' is not a path"),
    ('a.mp4 1 2\n', (), 1, "l/train.txt:1: 'a.mp4 1 2' has 2 labels"),
    ('a.mp4 5\n', ('--base-to-novel', 'l/val.txt', '--classes', 'names.txt'),
     1, 'l/train.txt:1: label 5 is not in'),
    ('', (), 1, "'l/train.txt' is empty"),
    ('a.mp4 1\n', ('--shots', 0), 2, '--shots must be at least 1'),
    ('a.mp4 1\n', ('--classes', 'names.txt'), 2, 'need each other'),
])
def test_bad_input(build, text, words, code, message):
    Path('l/train.txt').write_text(text)
    result = build(*words)
    assert result.returncode == code
    assert message in result.stderr
    assert len([*Path('l').iterdir()]) == 2
