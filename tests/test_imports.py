"""Folders of the package import each other in one direction only."""
import ast
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / 'projects/ila'


def find_imports(file):
    """Find the folders, or modules beside them, that a file imports."""
    package = ('projects', 'ila', *file.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(ast.parse(file.read_text())):
        if not isinstance(node, ast.ImportFrom):
            continue
        name = tuple((node.module or '').split('.')) if node.module else ()
        if node.level:
            name = (*package[:len(package) - node.level + 1], *name)
        if name[:2] == ('projects', 'ila'):
            names = [name[2]] if name[2:] else [x.name for x in node.names]
            yield from names


def test_no_circles():
    graph = {}
    for file in PACKAGE.rglob('*.py'):
        if file == PACKAGE / '__init__.py':
            continue
        own = file.relative_to(PACKAGE).parts[0].removesuffix('.py')
        graph.setdefault(own, set()).update(set(find_imports(file)) - {own})
    order = list(TopologicalSorter(graph).static_order())
    assert {'datasets', 'models', 'utils', 'weights'} <= {*order}
    # `utils` needs nothing of the others.
    assert not graph['utils']
