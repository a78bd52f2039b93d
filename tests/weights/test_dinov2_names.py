"""DINOv2's weights, from Hugging Face's names and from ONNX, for timm."""
import pytest
import timm
import torch
import torch.nn.functional as F
from dinov2 import save_onnx, to_hugging_face
from torch import nn

from projects.ila.weights.dinov2_names import convert_dinov2
from projects.ila.weights.onnx_file import is_onnx, read_onnx


def build(name):
    return timm.create_model(
        name, embed_dim=32, depth=2, num_heads=2, img_size=70, num_classes=0)


@pytest.fixture(scope='module')
def own():
    model = build('vit_small_patch14_dinov2')
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(value.shape, generator=generator)
        for name, value in model.state_dict().items()
    }


@pytest.fixture(scope='module')
def theirs(own):
    return to_hugging_face(own, 2)


def assert_same(converted, own):
    assert converted.keys() == own.keys()
    for name, value in own.items():
        assert torch.equal(converted[name], value), name


@pytest.mark.parametrize('prefix', ['', 'backbone.'])
def test_hugging_face(own, theirs, prefix):
    weights = {prefix + name: value for name, value in theirs.items()}
    weights[f'{prefix}embeddings.mask_token'] = torch.zeros(1, 32)
    converted, left_over = convert_dinov2(weights)
    assert_same(converted, own)
    assert left_over == []


def test_onnx(tmp_path, own, theirs):
    weights = {f'backbone.{name}': value for name, value in theirs.items()}
    weights['decoder.bias'] = torch.zeros(3)
    save_onnx(weights, tmp_path / 'a.onnx')
    assert is_onnx(tmp_path / 'a.onnx')
    converted, left_over = convert_dinov2(read_onnx(tmp_path / 'a.onnx'))
    assert_same(converted, own)
    assert left_over == ['decoder.bias']


def test_registers_are_between_class_token_and_patches(theirs):
    """The class token has a position in Hugging Face's model only."""
    model = build('vit_small_patch14_reg4_dinov2')
    registers, patches = torch.randn(1, 4, 32), torch.randn(1, 25, 32)
    weights = {**theirs, 'embeddings.register_tokens': registers}
    converted, _ = convert_dinov2(weights)
    model.load_state_dict(converted)
    token = weights['embeddings.cls_token']
    tokens = torch.cat([token, patches], 1)
    tokens = tokens + weights['embeddings.position_embeddings']
    expected = torch.cat([tokens[:, :1], registers, tokens[:, 1:]], 1)
    torch.testing.assert_close(model._pos_embed(patches), expected)


def test_positions_are_resized(own, theirs):
    converted, _ = convert_dinov2(theirs, 42)
    before, after = own['pos_embed'], converted['pos_embed']
    assert torch.equal(after[:, 0], before[:, 0])
    grid = before[0, 1:].view(5, 5, 32).permute(2, 0, 1)
    expected = F.interpolate(
        grid[None], (3, 3), mode='bicubic', align_corners=False)[0]
    torch.testing.assert_close(after[0, 1:].view(3, 3, 32),
                               expected.permute(1, 2, 0))


@pytest.mark.parametrize('tied', [True, False])
def test_onnx_of_other_exports(tmp_path, tied):
    """With a weight of two layers, and without folding constants."""
    model = nn.ModuleDict(dict(a=nn.Linear(4, 4), b=nn.Linear(4, 4)))
    if tied:
        model.b.weight = model.a.weight
    model.forward = lambda x: model.b(model.a(x))
    for folding in (True, False):
        torch.onnx.export(
            model, (torch.randn(2, 3, 4), ),
            tmp_path / 'a.onnx',
            dynamo=False,
            do_constant_folding=folding)
        if folding:
            weights = read_onnx(tmp_path / 'a.onnx')
            expected = model.state_dict()
            assert weights.keys() == expected.keys()
            for name, value in expected.items():
                assert torch.equal(weights[name], value)
        else:
            with pytest.raises(ValueError, match='do_constant_folding=True'):
                read_onnx(tmp_path / 'a.onnx')


def test_other_files_are_refused(tmp_path, theirs):
    with pytest.raises(ValueError, match='not weights of DINOv2'):
        convert_dinov2(dict(weight=torch.zeros(1)))
    with pytest.raises(ValueError, match='do not divide 43'):
        convert_dinov2(theirs, 43)
    save_onnx(theirs, tmp_path / 'a.onnx', external=True)
    with pytest.raises(ValueError, match='in other files'):
        read_onnx(tmp_path / 'a.onnx')
    (tmp_path / 'b.onnx').write_bytes(b'\x08\x07\xff\xff')
    with pytest.raises(ValueError, match=r'b\.onnx.*cannot be read'):
        read_onnx(tmp_path / 'b.onnx')
    positions = 'embeddings.position_embeddings'
    lacking = {name: theirs[name] for name in theirs if name != positions}
    with pytest.raises(ValueError, match='position embeddings were not'):
        convert_dinov2(lacking)
