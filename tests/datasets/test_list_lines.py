import pytest

from projects.ila.datasets.list_lines import split_line


@pytest.mark.parametrize('line, path, labels', [
    ('a.mp4 1 3', 'a.mp4', [1, 3]),
    ('a b.mp4 1 3', 'a b.mp4', [1, 3]),
    ('a 1.mp4  2 ', 'a 1.mp4', [2]),
    ('2 b/take 1 2.3gp 4 0', '2 b/take 1 2.3gp', [4, 0]),
    ('take 1', 'take', [1]),
    ('a b.mp4 -1', 'a b.mp4', [-1]),
])
def test_certain_labels(line, path, labels):
    for separator in ' ', '\t':
        line = line.replace(' ', separator)
        path = path.replace(' ', separator)
        assert split_line(line, separator, True, None) == (path, labels)


@pytest.mark.parametrize('line', ['take 1 2', 'v1.5 2 3', 'dir.mp4/take 1 2'])
def test_labels_that_files_decide(line):
    path, first, last = line.split()[-3:]
    path = line[:-len(f' {first} {last}')]
    short = path, [int(first), int(last)]
    long = f'{path} {first}', [int(last)]
    for there in (short, long):
        assert split_line(line, ' ', True, there[0].__eq__) == there
    for there in ([], [short[0], long[0]]):
        with pytest.raises(ValueError, match='can be read as') as error:
            split_line(line, ' ', True, there.__contains__)
        for part in short + long:
            assert str(part) in str(error.value)


def test_one_label():
    assert split_line('take 1 2', ' ', False, None) == ('take 1', [2])
    with pytest.raises(ValueError, match='has 2 labels'):
        split_line('a.mp4 1 2', ' ', False, lambda path: False)
    assert split_line('a.mp4 1 2', ' ', False,
                      'a.mp4 1'.__eq__) == ('a.mp4 1', [2])


@pytest.mark.parametrize('line',
                         ['a.mp4', '1', 'a.mp4 1.0', 'a.mp4 1_0', '1 2'])
def test_lines_without_path_or_label(line):
    for multi_class in (False, True):
        if line == '1 2':
            assert split_line(line, ' ', multi_class, None) == ('1', [2])
        else:
            with pytest.raises(ValueError, match='is not a path and'):
                split_line(line, ' ', multi_class, None)


@pytest.mark.parametrize('delimiter, other', [(' ', '\t'), (' ', ','),
                                              (',', ' ')])
def test_other_delimiters_are_named(delimiter, other):
    with pytest.raises(ValueError) as caught:
        split_line(f'a.mp4{other}1', delimiter, False, None)
    assert f'set `delimiter={other!r}` for the dataset' in str(caught.value)
