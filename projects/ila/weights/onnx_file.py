"""ONNX files: reading weights, those of linear layers by their names."""
import torch

from .names import StateDict


def is_onnx(path: str) -> bool:
    """Whether a file begins as ONNX does, with the number of its format."""
    with open(path, 'rb') as file:
        start = file.read(9)
    # The length of a header of safetensors may begin alike.
    return start[:1] == b'\x08' and start[8:] != b'{'


def read_onnx(path: str) -> StateDict:
    """Read the weights of a model that PyTorch exported to ONNX.

    The export transposes the weights of linear layers and drops their names.
    Each is found by the bias that is added to its product.

    Args:
        path (str): The file.

    Returns:
        dict[str, Tensor]: Weights with PyTorch's names and shapes. What has
        lost its name and is no linear layer's keeps the name in the file.

    Raises:
        ImportError: The package ``onnx`` is missing.
        ValueError: The file is damaged, no ONNX or keeps its weights in
            other files.
    """
    import onnx
    from onnx import numpy_helper
    try:
        # Other files are not read: a path in it may name any.
        graph = onnx.load(path, load_external_data=False).graph
    except Exception as error:  # Of protobuf.
        raise ValueError(f"ONNX file '{path}' cannot be read ({error}); "
                         'download it again') from None
    weights = {}
    for tensor in graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise ValueError(
                f"ONNX file '{path}' keeps its weights in other files; save "
                'it as one file with `onnx.save`')
        array = numpy_helper.to_array(tensor)
        weights[tensor.name] = torch.from_numpy(array.copy())
    biases = {
        product: name
        for node in graph.node if node.op_type == 'Add'
        for name, product in (node.input, node.input[::-1])
        if name in weights and name.endswith('.bias')
    }
    same = {
        node.output[0]: node.input[0]
        for node in graph.node if node.op_type == 'Identity'
    }
    unnamed = set()
    for node in graph.node:
        if node.op_type == 'MatMul' and node.output[0] in biases:
            name = biases[node.output[0]][:-len('bias')] + 'weight'
            source = same.get(node.input[1], node.input[1])
            if source not in weights:
                raise ValueError(
                    f"ONNX file '{path}' computes '{name}' from other weights; "
                    'export it with `do_constant_folding=True`')
            weights[name] = weights[source].t().contiguous()
            unnamed.add(source)
    # Several layers may share one.
    return {
        name: value
        for name, value in weights.items() if name not in unnamed
    }
