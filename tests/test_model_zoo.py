import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from mmengine.config import Config
from modelindex.load_model_index import load  # What `mim search` uses.

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope='module')
def models():
    index = load(str(ROOT / 'model-index.yml'))
    index.build_models_with_collections()
    return {model.name: model for model in index.models}


def test_every_published_config_is_listed(models):
    listed = sorted(model.config for model in models.values())
    published = [
        str(path.relative_to(ROOT)) for suffix in ('k400', 'ssv2')
        for path in (ROOT / 'configs').rglob(f'ila_vit*_{suffix}.py')
    ]
    assert listed == sorted(published)


def test_metadata_is_that_of_the_configs(models):
    for model in models.values():
        cfg = Config.fromfile(ROOT / model.config)
        backbone = cfg.model.backbone
        data = model.metadata.data
        assert data['Temporal module'] == backbone.temporal.type
        assert data['Architecture'].lower() == backbone.arch.replace(
            'clip-', 'vit-')
        assert data['Frame'] == cfg.model.neck.num_frames
        assert data['Resolution'] == f'{backbone.img_size}x{backbone.img_size}'


def test_readme_has_the_same_numbers(models):
    """They are counted in tests/tools/test_get_flops.py."""
    rows = re.findall(r'^\| `(ila_vit\w[^`]*)` \|(.*)\|$',
                      (ROOT / 'README.md').read_text(), re.MULTILINE)
    assert {name
            for name, _ in rows
            } == {name
                  for name in models if not name.endswith('_released')}
    for name, row in rows:
        cells = [cell.strip() for cell in row.split('|')]
        token, released = models[name], models[f'{name}_released']
        for cell, model, key in (
            (cells[2], token, 'MACs (G)'),
            (cells[3], released, 'MACs (G)'),
            (cells[5], token, 'Parameters (M)'),
            (cells[6], released, 'Parameters (M)'),
        ):
            assert float(cell) == model.metadata.data[key], (name, key)
        for model in (token, released):
            results = [
                f'{value}' for result in (model.results or [])
                for value in result.metrics.values()
            ]
            assert cells[7] == (' / '.join(results) or '–'), name
        data = token.metadata.data
        assert cells[:2] == [
            data['Architecture'],
            f"{data['Frame']} x {data['Resolution'].split('x')[0]}"
        ]


def test_wheel_carries_what_mim_looks_for(tmp_path):
    source = tmp_path / 'source'
    for name in ('configs', 'projects', 'requirements', 'tools'):
        shutil.copytree(ROOT / name, source / name)
    for name in ('model-index.yml', 'setup.cfg', 'setup.py'):
        shutil.copy(ROOT / name, source)
    subprocess.run([
        sys.executable, '-m', 'pip', 'wheel', '--no-deps',
        '--no-build-isolation', '--quiet', '--wheel-dir', tmp_path, source
    ],
                   check=True)
    wheel, = tmp_path.glob('mmaction2_ila-*.whl')
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    folder = tmp_path / 'projects' / '.mim'
    for model in load(str(folder / 'model-index.yml')).models:
        assert (folder / model.config).is_file()
    assert (folder / 'tools' / 'train.py').is_file()
