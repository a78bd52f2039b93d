"""DINOv2's weights, from Hugging Face's names and from ONNX, for timm."""
import numpy as np
import onnx
import pytest
import timm
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper

from projects.ila.weights.dinov2_names import convert_dinov2
from projects.ila.weights.onnx_file import is_onnx, read_onnx

LINEAR = {
    'attn.proj': 'attention.output.dense',
    'mlp.fc1': 'mlp.fc1',
    'mlp.fc2': 'mlp.fc2'
}


@pytest.fixture(scope='module')
def own():
    model = timm.create_model(
        'vit_small_patch14_dinov2',
        embed_dim=32,
        depth=2,
        num_heads=2,
        img_size=70,
        num_classes=0)
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(value.shape, generator=generator)
        for name, value in model.state_dict().items()
    }


@pytest.fixture(scope='module')
def theirs(own):
    """The same weights with Hugging Face's names."""
    weights = {
        'embeddings.cls_token':
        own['cls_token'],
        'embeddings.position_embeddings':
        own['pos_embed'],
        'embeddings.patch_embeddings.projection.weight':
        own['patch_embed.proj.weight'],
        'embeddings.patch_embeddings.projection.bias':
        own['patch_embed.proj.bias'],
        'layernorm.weight':
        own['norm.weight'],
        'layernorm.bias':
        own['norm.bias'],
    }
    for number in range(2):
        layer, block = f'encoder.layer.{number}.', f'blocks.{number}.'
        for scale in (1, 2):
            weights[f'{layer}layer_scale{scale}.lambda1'] = own[
                f'{block}ls{scale}.gamma']
        for kind in ('weight', 'bias'):
            for norm in ('norm1', 'norm2'):
                weights[f'{layer}{norm}.{kind}'] = own[f'{block}{norm}.{kind}']
            for ours, name in LINEAR.items():
                weights[f'{layer}{name}.{kind}'] = own[f'{block}{ours}.{kind}']
            for part, value in zip(('query', 'key', 'value'),
                                   own[f'{block}attn.qkv.{kind}'].chunk(3)):
                weights[f'{layer}attention.attention.{part}.{kind}'] = value
    return weights


def save_onnx(weights, path, external=False):
    """Save weights as an export does: linear ones transposed and unnamed."""
    tensors, nodes = {}, []
    for name, value in weights.items():
        if 'position_embeddings' in name:
            tensors['onnx::Concat_1'] = value[:, :1]
            tensors['onnx::Reshape_2'] = value[:, 1:]
        elif value.dim() == 2:
            number = len(tensors)
            tensors[f'onnx::MatMul_{number}'] = value.t()
            # The product may be the first or the second summand.
            terms = [f'product{number}', name[:-len('weight')] + 'bias']
            nodes += [
                helper.make_node('MatMul', ['x', f'onnx::MatMul_{number}'],
                                 [f'product{number}']),
                helper.make_node('Add', terms[::number % 2 or -1],
                                 [f'sum{number}'])
            ]
        else:
            tensors[name] = value
    initializers = [
        numpy_helper.from_array(np.ascontiguousarray(value), name)
        for name, value in tensors.items()
    ]
    if external:
        onnx.external_data_helper.set_external_data(initializers[0],
                                                    '../other')
    inputs = [helper.make_tensor_value_info('x', TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, 'vit', inputs, [], initializers)
    path.write_bytes(helper.make_model(graph).SerializeToString())


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


def test_positions_are_resized(own, theirs):
    converted, _ = convert_dinov2(theirs, 42)
    before, after = own['pos_embed'], converted['pos_embed']
    assert torch.equal(after[:, 0], before[:, 0])
    grid = before[0, 1:].view(5, 5, 32).permute(2, 0, 1)
    expected = F.interpolate(
        grid[None], (3, 3), mode='bicubic', align_corners=False)[0]
    torch.testing.assert_close(after[0, 1:].view(3, 3, 32),
                               expected.permute(1, 2, 0))


def test_other_files_are_refused(tmp_path, theirs):
    with pytest.raises(ValueError, match='no weights of DINOv2'):
        convert_dinov2(dict(weight=torch.zeros(1)))
    with pytest.raises(ValueError, match='do not divide 43'):
        convert_dinov2(theirs, 43)
    save_onnx(theirs, tmp_path / 'a.onnx', external=True)
    with pytest.raises(ValueError, match='in other files'):
        read_onnx(tmp_path / 'a.onnx')
    (tmp_path / 'b.onnx').write_bytes(b'\x08\x07\xff\xff')
    with pytest.raises(ValueError, match=r'b\.onnx.*cannot be read'):
        read_onnx(tmp_path / 'b.onnx')
    del theirs['embeddings.position_embeddings']
    with pytest.raises(ValueError, match='position embeddings were not'):
        convert_dinov2(theirs)
