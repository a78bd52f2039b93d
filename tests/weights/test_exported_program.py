"""Programs of ``torch.export`` that would run code, made from a plain one."""
import io
import json
import os
import zipfile

import pytest
import torch

from projects.ila.apis.exported import load_exported
from projects.ila.weights.exported_program import load_program

MODEL = 'models/model.json'
WEIGHTS = 'data/weights/model_weights_config.json'
INPUTS = 'data/sample_inputs/model.pt'


class Attack:

    def __reduce__(self):
        return os.mkdir, ('attacked', )


class Network(torch.nn.Module):

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 2)

    def forward(self, clips):
        return self.linear(clips).flatten(1)


@pytest.fixture(scope='module')
def plain(tmp_path_factory):
    path = tmp_path_factory.mktemp('programs') / 'plain.pt2'
    program = torch.export.export(
        Network(), (torch.randn(3, 5, 4), ),
        dynamic_shapes=({
            0: torch.export.Dim('batch')
        }, ),
        strict=True)
    torch.export.save(program, path, extra_files=dict(ila='{}'))
    return path


def rewrite(source, target, changes):
    """Copy an archive with other content for some of its parts."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, 'w') as new:
        names = old.namelist()
        root = names[0].partition('/')[0]
        for name in names:
            part = name.partition('/')[2]
            data = old.read(name)
            new.writestr(name, changes.pop(part, lambda data: data)(data))
        for part, change in changes.items():
            new.writestr(f'{root}/{part}', change(b''))


def edit(change):
    """Make a change of a JSON part."""

    def apply(data):
        content = json.loads(data)
        change(content)
        return json.dumps(content).encode()

    return apply


def nodes(content):
    return content['graph_module']['graph']['nodes']


def rename_input(content):
    """Put a call into the signature that PyTorch makes of the names."""
    text = json.dumps(content).replace(
        '"clips"', json.dumps("clips=__import__('os').mkdir('attacked')"))
    content.update(json.loads(text))


def pickled(data):
    buffer = io.BytesIO()
    torch.save((Attack(), ), buffer)
    return buffer.getvalue()


def set_expression(content):
    text = json.dumps(content)
    place = text.index('"expr_str": "') + len('"expr_str": "')
    end = text.index('"', place)
    attack = "__import__('os').mkdir('attacked')"
    content.update(json.loads(text[:place] + attack + text[end:]))


def name_a_tensor_metadata(content):
    """What people debug with has this key, and need not be checked."""
    text = json.dumps(content).replace('"clips"', '"metadata"')
    content.update(json.loads(text))
    set_expression(content)


def set_power(content):
    text = json.dumps(content)
    place = text.index('"expr_str": "') + len('"expr_str": "')
    end = text.index('"', place)
    content.update(json.loads(text[:place] + '9**9**9**9' + text[end:]))


def set_structure(content):
    for call in content['graph_module']['module_call_graph']:
        if call['signature']:
            call['signature']['in_spec'] = json.dumps([
                1,
                dict(
                    type='collections.defaultdict',
                    context=json.dumps(
                        dict(
                            default_factory_module='os',
                            default_factory_name='getcwd',
                            dict_context=[])),
                    children_spec=[])
            ])


def pickle_a_weight(content):
    next(iter(content['config'].values()))['use_pickle'] = True


ATTACKS = {
    'sample inputs': {
        INPUTS: pickled
    },
    'legacy weights': {
        'data/weights/model.pt': pickled
    },
    'pickled weight': {
        WEIGHTS: edit(pickle_a_weight)
    },
    'compiled library': {
        'data/aotinductor/model/model.so': lambda data: b'ELF'
    },
    'second model': {
        'models/other.json': lambda data: b'{}'
    },
    'function': {
        MODEL:
        edit(lambda content: nodes(content)[0].update(
            target='torch.serialization.os.mkdir'))
    },
    'file': {
        MODEL:
        edit(lambda content: nodes(content)[0].update(
            target='torch.ops.aten.from_file.default'))
    },
    'operator': {
        MODEL:
        edit(lambda content: nodes(content)[0].update(
            target='_operator.methodcaller'))
    },
    'name': {
        MODEL: edit(rename_input)
    },
    'expression': {
        MODEL: edit(set_expression)
    },
    'expression of a tensor named metadata': {
        MODEL: edit(name_a_tensor_metadata)
    },
    'power': {
        MODEL: edit(set_power)
    },
    'structure': {
        MODEL: edit(set_structure)
    },
    'guard': {
        MODEL:
        edit(lambda content: content.update(
            guards_code=["__import__('os').mkdir('attacked')"]))
    },
}


@pytest.mark.parametrize('attack', ATTACKS)
def test_code_is_not_run(plain, tmp_path, monkeypatch, attack):
    monkeypatch.chdir(tmp_path)
    rewrite(plain, 'a.pt2', dict(ATTACKS[attack]))
    with pytest.raises(
            ValueError, match=r"'a\.pt2' holds more than a network.*run code"):
        load_exported('a.pt2')
    assert not os.path.exists('attacked')


def test_plain_program_is_loaded(plain, tmp_path):
    """As it was written, with inputs, and without checksums' help."""
    rewrite(plain, tmp_path / 'a.pt2', {})
    expected = torch.export.load(plain)
    clips = torch.randn(2, 5, 4)
    for path in (plain, tmp_path / 'a.pt2'):
        files = dict(ila='')
        program = load_program(str(path), files)
        assert files['ila'] == '{}'
        assert torch.equal(program.module()(clips), expected.module()(clips))


def test_flipped_bit_is_found(plain, tmp_path):
    content = bytearray(plain.read_bytes())
    with zipfile.ZipFile(plain) as archive:
        part = next(part for part in archive.infolist()
                    if part.filename.endswith('/weight_0'))
    weight = torch.export.load(
        plain).state_dict['linear.weight'].detach().numpy().tobytes()
    place = bytes(content).index(weight, part.header_offset)
    content[place + len(weight) // 2] ^= 1
    (tmp_path / 'a.pt2').write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.pt2' can ?not be .*checksums"):
        load_exported(str(tmp_path / 'a.pt2'))
