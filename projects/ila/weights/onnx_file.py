"""Read weights from ONNX files, and restore names of linear layers."""
import torch

from .names import StateDict


def is_onnx(path: str) -> bool:
    """Whether a file starts like ONNX, with the field of its version."""
    with open(path, 'rb') as file:
        start = file.read(9)
    # The header length of a safetensors file may start the same.
    return start[:1] == b'\x08' and start[8:] != b'{'


def read_onnx(path: str) -> StateDict:
    """Read the weights of a model that PyTorch exported to ONNX.

    The export transposes the weights of linear layers and drops their names.
    Each name is restored from the bias that is added to the product.

    Args:
        path (str): The file.

    Returns:
        dict[str, Tensor]: Weights with PyTorch's names and shapes. Other
        weights without a name keep their name in the file.

    Raises:
        ImportError: The package ``onnx`` is missing.
        ValueError: The file is damaged, is not ONNX, or keeps its weights in
            other files.
    """
    import onnx
    from onnx import numpy_helper
    try:
        # Do not read other files: paths in it may lead anywhere.
        graph = onnx.load(path, load_external_data=False).graph
    except Exception as error:  # From protobuf.
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
    # Removed last, since several layers may share a weight.
    return {
        name: value
        for name, value in weights.items() if name not in unnamed
    }
