"""Programs of ``torch.export``: reading without running code from them."""
import io
import json
import pickle
import re
from typing import Any, Iterator, Tuple

import torch
from torch.export import ExportedProgram

from .torch_file import check_crc, restricted_pickle

# Names of the parts of such an archive, without compiled libraries.
_PARTS = re.compile(
    r'models/model\.json|data/(weights|constants)/((weight|tensor)_\d+'
    r'|model_(weights|constants)_config\.json|model\.pt)'
    r'|data/sample_inputs/model\.pt|extra/\w+'
    r'|archive_format|archive_version|byteorder|version|\.data/\w+')
_OPERATORS = re.compile(
    r'_operator\.(add|sub|mul|neg|floordiv|truediv|mod|pow|eq|ne|lt|le|gt|ge'
    r'|getitem)|math\.(ceil|floor|trunc)|torch\.sym_\w+')
# PyTorch inserts names into code that it runs. Without brackets, quotes, `=`
# and line breaks, this code cannot call anything.
_NAME = re.compile(r'[\w.,:+-]*', re.ASCII)
_GUARD = re.compile(r"L\['\w+'\]\.size\(\)\[\d+\] [<>=!]=? \d+", re.ASCII)
# SymPy runs expressions as code.
_SYMBOL = re.compile(r"Symbol\('\w+'")
_EXPRESSION_WORDS = {
    'Symbol', 'Integer', 'Add', 'Mul', 'Max', 'Min', 'Mod', 'PythonMod',
    'FloorDiv', 'CleanDiv', 'CeilDiv', 'ModularIndexing', 'integer',
    'positive', 'nonnegative', 'True', 'False'
}


class UnsafeProgramError(ValueError):
    """A program that could run its own code."""


def _check(fine: bool, what: str) -> None:
    if not fine:
        raise UnsafeProgramError(
            f'holds more than a network, and loading it could run code ({what})'
        )


def _is_expression(text: str) -> bool:
    rest = _SYMBOL.sub('(', text)
    words = set(re.findall(r'[A-Za-z_]\w*', rest))
    # Powers of powers would take all time and memory.
    return ('**' not in rest
            and bool(re.fullmatch(r'[\w\s(),=+*/<>-]*', rest, re.ASCII))
            and all(
                word in _EXPRESSION_WORDS or re.fullmatch(r'[su]\d+', word)
                for word in words))


def _check_spec(spec: Any) -> None:
    """Check the structure of arguments: only plain containers are allowed."""
    _check(
        spec['type']
        in (None, 'builtins.tuple', 'builtins.list', 'builtins.dict'),
        spec['type'])
    context = json.loads(spec['context'] or 'null')
    _check(
        context is None
        or all(isinstance(key, str) and key.isidentifier() for key in context),
        spec['context'])
    for child in spec['children_spec']:
        _check_spec(child)


def _check_target(target: str) -> None:
    """Check a function: PyTorch's operators on tensors, but not on files."""
    match = re.fullmatch(r'torch\.ops\.aten\.(\w+)\.(\w+)', target)
    if not match:
        _check(_OPERATORS.fullmatch(target), target)
        return
    operator = getattr(getattr(torch.ops.aten, match[1], None), match[2], None)
    _check(isinstance(operator, torch._ops.OpOverload), target)
    _check(
        all(argument.name != 'filename'
            for argument in operator._schema.arguments), target)


def _strings(value: Any, key: str = '') -> Iterator[Tuple[str, str]]:
    """Find all strings in JSON data, with the keys to which they belong."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item, key)
    elif isinstance(value, dict):
        for name, item in value.items():
            yield 'name', name
            yield from _strings(item, name)


def _drop_metadata(graph: dict) -> None:
    """Drop the debugging metadata of nodes, and nothing else."""
    for node in graph['nodes']:
        node.pop('metadata', None)
        for value in node['inputs']:
            part = value['arg'].get('as_graph')
            if part:
                _drop_metadata(part['graph'])


def _check_program(program: dict) -> None:
    _drop_metadata(program['graph_module']['graph'])
    for key, text in _strings(program):
        if key == 'target':
            _check_target(text)
        elif key == 'expr_str':
            _check(_is_expression(text), text)
        elif key in ('in_spec', 'out_spec'):
            if text:
                _check_spec(json.loads(text)[1])
        elif key == 'guards_code':
            _check(_GUARD.fullmatch(text), text)
        else:
            _check(_NAME.fullmatch(text), text)


def _check_tensors(config: dict) -> None:
    for entry in config['config'].values():
        _check(not entry['use_pickle'], 'a pickled tensor')
        _check(
            re.fullmatch(r'(weight|tensor)_\d+', entry['path_name']),
            entry['path_name'])


def _check_pickle(data: bytes) -> None:
    """Refuse data that PyTorch would unpickle without restrictions."""
    try:
        if data:
            torch.load(
                io.BytesIO(data),
                map_location='cpu',
                weights_only=False,
                pickle_module=restricted_pickle({}))
    except pickle.UnpicklingError as error:
        _check(False, str(error))


def load_program(path: str, extra_files: dict) -> ExportedProgram:
    """Load a program of ``torch.export.save``, but none that could run code.

    ``torch.export.load`` unpickles inputs, evaluates shapes, inserts names
    into code and calls any function that a file names. All of these are
    checked first.

    Args:
        path (str): The file.
        extra_files (dict): See :func:`torch.export.load`.

    Returns:
        ExportedProgram: The program.

    Raises:
        UnsafeProgramError: The program is not a plain network.
        Exception: The file is damaged; errors are of many types.
    """
    check_crc(path)
    # With PyTorch's own reader, so that both read the same.
    reader = torch._C.PyTorchFileReader(path)
    names = reader.get_all_records()
    _check(
        len({name.lower()
             for name in names}) == len(names), 'two parts of '
        'one name')
    for name in names:
        _check(_PARTS.fullmatch(name), name)
        if name.endswith('.pt'):
            _check_pickle(reader.get_record(name))
        elif name.endswith('config.json'):
            _check_tensors(json.loads(reader.get_record(name)))
        elif name.endswith('.json'):
            _check_program(json.loads(reader.get_record(name)))
    with open(path, 'rb') as file:
        return torch.export.load(file, extra_files=extra_files)
