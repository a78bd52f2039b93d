import os
import pickle
import sys
import types
import zipfile

import numpy as np
import pytest
import torch
from archives import clip_of, save_torchscript
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader
from reference import load_reference
from safetensors.torch import save_file

from projects.ila.weights import (checkpoint, find_weights, hash_weights,
                                  read_checkpoint, write_checkpoint)
from projects.ila.weights.checkpoint import load_from_file


@pytest.fixture(scope='module')
def clip():
    return clip_of(load_reference('k400_tiny_t4_s0')[1])


def test_torchscript_archive_gives_the_tensors_of_its_state_dict(
        clip, tmp_path):
    save_torchscript(clip, tmp_path / 'clip.pt')
    expected = torch.jit.load(tmp_path / 'clip.pt').state_dict()
    weights = find_weights(read_checkpoint(str(tmp_path / 'clip.pt')), '')
    assert weights.keys() == expected.keys(
    ) == clip.keys() | {'input_resolution', 'context_length', 'vocab_size'}
    for name, value in expected.items():
        assert weights[name].dtype == value.dtype, name
        assert torch.equal(weights[name], value), name


def test_torchscript_tensors_that_share_and_skip_memory(tmp_path):
    root = torch.nn.Module()
    base = torch.arange(12.).view(3, 4)
    for name, value in dict(
            whole=base, columns=base.t(), part=base[1:, ::2],
            empty=base[:0]).items():
        root.register_buffer(name, value)
    torch.jit.script(root).save(str(tmp_path / 'a.pt'))
    weights = read_checkpoint(str(tmp_path / 'a.pt'))['state_dict']
    for name, value in root.named_buffers():
        assert torch.equal(weights[name], value), name


def replace_pickle(path, content):
    """Put another pickle into a TorchScript archive."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, 'w') as archive:
        for name, data in files.items():
            archive.writestr(name,
                             content if name.endswith('/data.pkl') else data)


class Attack:

    def __reduce__(self):
        return os.mkdir, ('attacked', )


@pytest.mark.parametrize('kind', ['zip', 'legacy', 'pickle', 'torchscript'])
def test_code_is_not_run(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    if kind == 'pickle':
        (tmp_path / 'a.pt').write_bytes(pickle.dumps(Attack(), protocol=2))
    elif kind == 'torchscript':
        save_torchscript({'a': torch.ones(1)}, tmp_path / 'a.pt')
        replace_pickle(tmp_path / 'a.pt', pickle.dumps(Attack(), protocol=2))
    else:
        torch.save(
            dict(model=Attack()),
            'a.pt',
            _use_new_zipfile_serialization=kind == 'zip')
    with pytest.raises(ValueError, match=r"'a\.pt' holds more than data.*run"):
        read_checkpoint('a.pt')
    with pytest.raises(ValueError, match=r"'a\.pt' holds more than data.*run"):
        CheckpointLoader.load_checkpoint('a.pt')
    assert not os.path.exists('attacked')


@pytest.mark.parametrize('name', ['a.pt', 'a.pth', 'a.safetensors'])
@pytest.mark.parametrize('kept', [0., 0.001, 0.5, 0.99])
def test_truncated_files_are_named(tmp_path, clip, name, kept):
    path = tmp_path / name
    if name == 'a.pt':
        save_torchscript(clip, path)
    elif name == 'a.pth':
        torch.save(clip, path)
    else:
        save_file(clip, path)
    whole = path.read_bytes()
    path.write_bytes(whole[:int(kept * len(whole))])
    with pytest.raises(ValueError, match=rf"{name}' cannot be read"):
        read_checkpoint(str(path))


@pytest.mark.parametrize('name', ['a.pth', 'a.safetensors', 'a.PT', 'a'])
@pytest.mark.parametrize('save', [torch.save, save_file])
def test_content_tells_the_format(tmp_path, name, save):
    save(dict(a=torch.ones(2)), tmp_path / name)
    found = load_from_file(str(tmp_path / name))['state_dict']
    assert torch.equal(found['a'], torch.ones(2))


def test_what_is_no_file_is_named(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / 'pipe.pth')
    for path in (tmp_path, tmp_path / 'pipe.pth', '/dev/zero'):
        with pytest.raises(ValueError, match=f"'{path}' .* it is a folder, a"):
            read_checkpoint(str(path))

    def refuse(path):
        raise PermissionError(13, 'Permission denied', path)

    (tmp_path / 'a.pth').write_bytes(b'content')
    monkeypatch.setattr(checkpoint, '_read', refuse)
    with pytest.raises(ValueError, match='denied.; change its permissions'):
        read_checkpoint(str(tmp_path / 'a.pth'))


def test_folder_of_a_sharded_training_is_named(tmp_path):
    (tmp_path / 'weights.pth').touch()
    with pytest.raises(
            ValueError, match='with `strategy`; resume it with the'):
        read_checkpoint(str(tmp_path))


def test_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match="'none.pt' does not exist"):
        read_checkpoint('none.pt')


@pytest.mark.parametrize('content', [
    dict(),
    dict(epoch=3),
    torch.ones(2), [1, 2],
    dict(model=dict(a=torch.ones(1), b='text')),
    dict(state_dict={1: torch.ones(1)})
])
def test_files_without_weights(tmp_path, content):
    torch.save(content, tmp_path / 'a.pt')
    with pytest.raises(ValueError, match='a.pt. holds no weights'):
        find_weights(
            read_checkpoint(str(tmp_path / 'a.pt')), str(tmp_path / 'a.pt'))


@pytest.mark.parametrize('wrap', [
    lambda weights: weights,
    lambda weights: dict(state_dict=weights, epoch=3),
    lambda weights: dict(model=weights, max_accuracy=80.),
    lambda weights: dict(state_dict={
        f'module.{key}': value
        for key, value in weights.items()
    }),
    lambda weights: {
        f'_orig_mod.module.{key}': value
        for key, value in weights.items()
    },
])
def test_weights_are_found(tmp_path, wrap):
    weights = {'a.b': torch.randn(2), 'c': torch.randn(1)}
    torch.save(wrap(weights), tmp_path / 'a.pt')
    found = find_weights(read_checkpoint(str(tmp_path / 'a.pt')), '')
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[key], weights[key]) for key in weights)


def test_released_checkpoint_with_its_config(tmp_path, monkeypatch):
    """The released code saves a yacs node, which this project lacks."""
    module = types.ModuleType('yacs.config')

    class CfgNode(dict):
        __module__ = 'yacs.config'

    CfgNode.__qualname__ = 'CfgNode'
    module.CfgNode = CfgNode
    monkeypatch.setitem(sys.modules, 'yacs', types.ModuleType('yacs'))
    monkeypatch.setitem(sys.modules, 'yacs.config', module)
    config = CfgNode(MODEL=CfgNode(ARCH='ViT-B/16'))
    # As yacs does, beside its items.
    config.__dict__.update(__immutable__=True, __deprecated_keys__=set())
    torch.save(
        dict(model=dict(a=torch.ones(2)), config=config), tmp_path / 'a.pth')
    monkeypatch.delitem(sys.modules, 'yacs.config')
    monkeypatch.delitem(sys.modules, 'yacs')
    checkpoint = read_checkpoint(str(tmp_path / 'a.pth'))
    assert checkpoint['config'] == dict(MODEL=dict(ARCH='ViT-B/16'))
    assert torch.equal(checkpoint['model']['a'], torch.ones(2))


def test_other_checkpoints_are_loaded_as_they_are(tmp_path):
    """MMEngine's own fields, and what is not ILA's, stay."""
    model = torch.nn.BatchNorm1d(3)
    saved = dict(state_dict=model.state_dict(), meta=dict(epoch=2))
    torch.save(saved, tmp_path / 'a.pth')
    loaded = CheckpointLoader.load_checkpoint(str(tmp_path / 'a.pth'))
    assert loaded['meta'] == dict(epoch=2)
    assert loaded['state_dict'].keys() == saved['state_dict'].keys()
    assert loaded['state_dict']._metadata['']['source'].endswith('a.pth')
    torch.save([1, 2], tmp_path / 'b.pth')
    assert CheckpointLoader.load_checkpoint(str(tmp_path / 'b.pth')) == [1, 2]


@pytest.mark.parametrize('name', ['a.pth', 'a.safetensors'])
def test_written_checkpoints_are_read(tmp_path, name):
    weights = dict(a=torch.randn(3, 2).t(), b=torch.tensor(3))
    meta = dict(
        ila=dict(temporal=dict(type='TokenAlignment'), class_names=['ü', 'b']))
    path = str(tmp_path / name)
    write_checkpoint(path, dict(state_dict=weights, meta=meta))
    checkpoint = read_checkpoint(path)
    assert checkpoint['meta'] == meta
    assert all(
        torch.equal(checkpoint['state_dict'][key], weights[key])
        for key in weights)
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize('name', ['a.pth', 'a.safetensors'])
def test_failed_writing_leaves_the_old_file(tmp_path, name):
    path = tmp_path / name
    path.write_text('old')
    with pytest.raises(Exception):
        write_checkpoint(
            str(path),
            dict(
                state_dict=dict(a=torch.ones(1).t(), b=lambda: 0),
                meta=dict(ila=dict())))
    assert os.listdir(tmp_path) == [name]
    assert path.read_text() == 'old'


def test_writing_replaces_no_pipe(tmp_path):
    path = tmp_path / 'a.pth'
    os.mkfifo(path)
    with pytest.raises(OSError, match='not a regular file'):
        write_checkpoint(str(path), dict(state_dict=dict(a=torch.ones(1))))
    assert path.is_fifo()
    assert os.listdir(tmp_path) == ['a.pth']


def test_hash_depends_on_names_types_shapes_and_values():
    weights = dict(a=torch.ones(2, 3), b=torch.zeros(()))
    same = dict(b=torch.zeros(()), a=torch.ones(3, 2).t())
    others = [
        dict(weights, a=torch.ones(3, 2)),
        dict(weights, a=torch.full((2, 3), 2.)),
        dict(weights, a=torch.ones(2, 3, dtype=torch.int32)),
        dict(weights, c=torch.ones(2, 3)),
        dict(a=weights['b'], b=weights['a']),
    ]
    assert hash_weights(weights) == hash_weights(same)
    assert len({hash_weights(w) for w in [weights, *others]}) == 6


@pytest.mark.parametrize('name', ['a.pth', 'a.pt', 'a.safetensors', 'b.pth'])
def test_no_flipped_bit_of_the_weights_is_missed(tmp_path, name):
    weights = dict(a=torch.randn(64, 4), b=torch.randn(3))
    path = tmp_path / name
    if name == 'a.pt':
        save_torchscript(weights, path)
    elif name == 'b.pth':  # As a training writes it.
        torch.save(dict(state_dict=weights, meta=dict(epoch=1)), path)
    else:
        meta = dict(ila=dict(weights_sha256=hash_weights(weights)))
        write_checkpoint(str(path), dict(state_dict=weights, meta=meta))
    whole = path.read_bytes()
    expected = read_checkpoint(str(path))['state_dict']
    for place in range(0, len(whole), max(1, len(whole) // 150)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)
        try:
            found = read_checkpoint(str(path))['state_dict']
        except ValueError as error:
            assert f"{name}' cannot be read" in str(error) or (
                'holds more than data' in str(error))
        else:  # The bit means nothing.
            assert found.keys() == expected.keys(), place
            for key, value in expected.items():
                assert torch.equal(found[key], value), place


@pytest.mark.parametrize('entry', ['state_dict', 'model'])
def test_other_weights_than_the_hash_says(tmp_path, entry):
    weights = dict(a=torch.ones(2))
    meta = dict(ila=dict(weights_sha256=hash_weights(weights)))
    path = str(tmp_path / 'a.pth')
    torch.save({entry: weights, 'meta': meta}, path)
    assert read_checkpoint(path)[entry].keys() == {'a'}
    weights['a'][1] = 2
    torch.save({entry: weights, 'meta': meta}, path)
    with pytest.raises(ValueError, match=r"a\.pth' cannot .*weights_sha256"):
        CheckpointLoader.load_checkpoint(path)


def test_archive_without_checksums_is_read(tmp_path):
    """PyTorch's own switch leaves zeros in their place."""
    path = str(tmp_path / 'a.pth')
    torch.save(dict(a=torch.ones(2)), path)
    with zipfile.ZipFile(path) as archive:
        sums = [info.CRC for info in archive.infolist()]
    content = (tmp_path / 'a.pth').read_bytes()
    for value in sums:
        content = content.replace(value.to_bytes(4, 'little'), bytes(4))
    (tmp_path / 'a.pth').write_bytes(content)
    assert torch.equal(read_checkpoint(path)['a'], torch.ones(2))


@pytest.mark.parametrize('version', ['2.4.0', torch.__version__])
@pytest.mark.parametrize('zipped', [True, False])
def test_training_state_is_read_by_every_release(tmp_path, monkeypatch,
                                                 version, zipped):
    path = str(tmp_path / 'a.pth')
    counts = np.arange(3)
    content = dict(
        state_dict=dict(a=torch.ones(2)),
        optimizer=dict(state={0: dict(step=torch.tensor(3.))}),
        message_hub=dict(
            log_scalars=dict(loss=HistoryBuffer([1., 2.], [1, 1])),
            runtime_info=dict(
                score=np.float32(0.25), best=np.bool_(True), counts=counts)))
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    monkeypatch.setattr(torch, '__version__', version)
    loaded = CheckpointLoader.load_checkpoint(path, 'cpu')
    assert loaded['optimizer']['state'][0]['step'] == 3
    assert loaded['message_hub']['log_scalars']['loss'].mean() == 1.5
    info = loaded['message_hub']['runtime_info']
    assert info['score'] == np.float32(0.25) and info['best']
    np.testing.assert_array_equal(info['counts'], counts)
    torch.save(
        dict(state_dict=Attack()), path, _use_new_zipfile_serialization=zipped)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match='holds more than data'):
        CheckpointLoader.load_checkpoint(path, 'cpu')
    assert not os.path.exists('attacked')


class Call:

    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize('version', ['2.4.0', torch.__version__])
@pytest.mark.parametrize('call', [
    Call(np.ndarray, ((1, ), 'O', b'pointers')),
    Call(np.dtype, ('O', False, True)),
    Call(np.dtype, ('f8,O', )),
])
def test_numpy_takes_no_bytes_for_pointers(tmp_path, monkeypatch, version,
                                           call):
    torch.save(dict(a=torch.ones(1), b=call), tmp_path / 'a.pth')
    monkeypatch.setattr(torch, '__version__', version)
    with pytest.raises(ValueError, match=r"a\.pth' "):
        read_checkpoint(str(tmp_path / 'a.pth'))


def test_state_of_numpy_types_is_not_read(tmp_path):
    """Under such a state, numbers would be taken for pointers."""
    state = (3, '<', None, ('a', ), {'a': (np.dtype('f4'), 0)}, 8, 8, 63)
    call = Call(np.dtype, ('f8', False, True), state)
    torch.save(dict(a=torch.ones(1), b=call), tmp_path / 'a.pth')
    assert read_checkpoint(str(tmp_path / 'a.pth'))['b'].fields is None


def test_config_that_would_be_run_is_dropped(tmp_path):
    """``Runner.resume`` executes ``meta.config``; ``meta.cfg`` is text."""
    path = str(tmp_path / 'a.pth')
    meta = dict(config='raise SystemExit', cfg='model = dict()', epoch=3)
    torch.save(dict(state_dict=dict(x=torch.ones(1)), meta=meta), path)
    loaded = CheckpointLoader.load_checkpoint(path, map_location='cpu')
    assert loaded['meta'] == dict(cfg='model = dict()', epoch=3)
