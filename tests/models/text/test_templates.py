import pytest

from projects.ila.models.text import load_templates


def test_one_several_or_a_file(tmp_path):
    path = tmp_path / 'templates.txt'
    path.write_text('{}\na video of {}. \n')
    assert load_templates('a {}') == ['a {}']
    assert load_templates(['{}', 'the {}']) == ['{}', 'the {}']
    assert load_templates(str(path)) == ['{}', 'a video of {}.']


@pytest.mark.parametrize('source', ['missing.txt', ['{}', 'a {} {}'], ['']])
def test_templates_must_hold_the_name_once(source):
    with pytest.raises(ValueError, match='must hold {} exactly once'):
        load_templates(source)


def test_no_template():
    with pytest.raises(ValueError, match='no template'):
        load_templates([])
