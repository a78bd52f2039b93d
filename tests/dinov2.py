"""DINOv2's weights as others store them, made from timm's."""
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LINEAR = {
    'attn.proj': 'attention.output.dense',
    'mlp.fc1': 'mlp.fc1',
    'mlp.fc2': 'mlp.fc2'
}


def to_hugging_face(own, depth):
    """Give timm's weights Hugging Face's names."""
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
    for number in range(depth):
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
