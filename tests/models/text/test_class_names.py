import pytest

from projects.ila.models.text import load_class_names


def test_kinetics400_in_label_order():
    names = load_class_names('kinetics400')
    assert len(names) == 400
    assert names == sorted(names)
    assert (names[0], names[399]) == ('abseiling', 'zumba')


def test_text_file(tmp_path):
    path = tmp_path / 'classes.txt'
    path.write_text('move left\nmove right \n')
    assert load_class_names(str(path)) == ['move left', 'move right']


@pytest.mark.parametrize('text, message', [
    ('a\n\nb\n', 'class name 1 of .*classes.txt is empty'),
    ('', "classes.txt' holds no class names"),
    ('a\nb\na\n', r"\['a'\] of .*classes.txt occur twice"),
])
def test_bad_file(tmp_path, text, message):
    path = tmp_path / 'classes.txt'
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_class_names(str(path))


def test_names_that_are_numbers():
    with pytest.raises(ValueError, match='must be texts, got .1, 2.; fix'):
        load_class_names([1, 2])


def test_missing_file():
    with pytest.raises(ValueError, match="'none.txt' is neither"):
        load_class_names('none.txt')
