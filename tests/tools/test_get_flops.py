import re

import pytest
from commands import ROOT, run_tool
from mmengine.config import Config
from modelindex.load_model_index import load
from modules import load_module

from projects.ila.analysis import complexity
from projects.ila.models.images import CLIPImage

TOOL = 'tools/analysis/get_flops.py'
get_flops_tool = load_module(ROOT / TOOL)
COMPARISONS = 'projects.ila.models.temporal.comparisons'


def get_flops(config, *args):
    result = run_tool(TOOL, ROOT / config, *args)
    assert result.returncode == 0, result.stderr
    rows = re.findall(r'^([a-z ]+?)((?: +[\d.]+)+)$', result.stdout, re.M)
    return {
        name: [float(x) for x in values.split()]
        for name, values in rows
    }, result


def token_form_macs(width, layers, patches, frames, embed, classes):
    """Count by hand, for patches on a square grid."""
    side = int(patches**0.5)
    tokens = patches + 2  # class token and mutual-information token
    attention = tokens * 4 * width**2 + 2 * tokens**2 * width
    mlp = tokens * 8 * width**2
    pooled = (side // 2)**2
    # The depthwise filters run over every frame, all else over every pair.
    depthwise = patches * 9 * 2 * width
    predictor = (
        patches * 2 * width * 128 + pooled * 9 * 128 * 128 + 32 * 128 + 4 * 32)
    pool = 2 * patches * width
    text = classes * 2 * (2 + 8) * embed**2
    visual = patches * (width * embed + 2 * 2 * embed**2)
    cross = 2 * 2 * classes * patches * embed + classes * embed
    neck = frames * (width * embed + 12 * embed**2) + 2 * frames**2 * embed
    return {
        'blocks':
        frames * layers * (attention + mlp),
        'alignment':
        layers * (frames * depthwise + (frames - 1) * (predictor + pool)),
        'neck':
        neck,
        'head':
        text + visual + cross
    }


@pytest.fixture(scope='module')
def vitb16(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        # Any working directory is fine.
        patch.chdir(tmp_path_factory.mktemp('elsewhere'))
        return get_flops('configs/ila_vitb16_k400.py')


def test_counts_equal_closed_form(vitb16):
    """Attention's own products are counted."""
    rows, result = vitb16
    expected = token_form_macs(768, 12, 196, 8, 512, 400)
    expected['patch embedding'] = 8 * 196 * 3 * 16 * 16 * 768
    for part, macs in expected.items():
        assert rows[part][0] == pytest.approx(macs / 1e9, abs=0.006), part
    assert rows['total'][0] == pytest.approx(
        sum(expected.values()) / 1e9, abs=0.01)
    assert 'published' not in result.stdout


@pytest.fixture(scope='module')
def listed():
    """GMACs and million parameters of both forms, as in the index."""
    index = load(str(ROOT / 'model-index.yml'))
    index.build_models_with_collections()
    found = {model.name: model.metadata.data for model in index.models}
    return {
        name: [
            data[key] for data in (found[name], found[f'{name}_released'])
            for key in ('MACs (G)', 'Parameters (M)')
        ]
        for name in found if f'{name}_released' in found
    }


@pytest.mark.parametrize('config, options, published, difference', [
    ('ila_vitb32_k400', [], 40, -0.0202),
    ('ila_vitb16_k400', ['--shape', '16', '224', '224'], 295, -0.0037),
    ('ila_vitb16_16f_ssv2', [], 438, 0.0041),
])
def test_token_form_against_the_paper(listed, config, options, published,
                                      difference):
    rows, result = get_flops(f'configs/{config}.py', *options)
    assert f'{published} GMACs' in result.stdout
    check_totals(rows['total'], published, difference)
    if not options:
        assert rows['total'] == pytest.approx(listed[config], abs=0.051)


def check_totals(totals, published, difference):
    assert totals[0] == pytest.approx(published * (1 + difference), rel=1e-3)
    assert totals[2] > 1.1 * published  # the released form


def count_totals(config):
    """Count GMACs and million parameters in both forms.

    All blocks have the same, so those of two and three give those of all.
    """
    totals = []
    for kind in get_flops_tool.ALIGNMENTS:
        model = Config.fromfile(ROOT / f'configs/{config}.py').model
        model.backbone.temporal.type = kind
        arch = CLIPImage.arch_zoo[model.backbone.arch]
        found = []
        for blocks in (2, 3):
            model.backbone.arch = dict(arch, num_layers=blocks)
            side = model.backbone.img_size
            counts = complexity.count(
                complexity.build_without_data(model), model.neck.num_frames,
                (side, side))
            found.append([
                sum(count.values()) / unit
                for count, unit in zip(counts, (1e9, 1e6))
            ])
        totals += [
            two + (arch['num_layers'] - 2) * (three - two)
            for two, three in zip(*found)
        ]
    return totals


@pytest.mark.parametrize('config, published, difference', [
    ('ila_vitl14_k400', 673, -0.0036),
    ('ila_vitl14-336_16f_k400', 3130, 0.0020),
    ('ila_vitl14_ssv2', 907, -0.0152),
    ('ila_vitl14-336_16f_ssv2', 3723, 0.1369),
])
def test_large_models_against_the_paper(listed, config, published, difference):
    totals = count_totals(config)
    check_totals(totals, published, difference)
    assert totals == pytest.approx(listed[config], abs=0.051)


def test_difference_adds_a_linear_layer_of_every_frame(vitb16):
    rows, _ = vitb16
    added, result = get_flops('configs/ila_vitb16_k400.py', '--cfg-options',
                              'model.backbone.temporal.difference=True')
    assert added['alignment'] == [
        pytest.approx(rows['alignment'][0] + 12 * 8 * 768**2 / 1e9, abs=2e-3),
        pytest.approx(rows['alignment'][1] + 12 * 768**2 / 1e6, abs=2e-3)
    ]
    assert 'Released' not in result.stdout


def other_macs(name, width, layers, patches, frames):
    """Count blocks and what a temporal module adds to them by hand."""
    tokens = patches + 1 + (name in ('MessageToken', 'NeighbourAverage'))
    spatial = tokens * 4 * width**2 + 2 * tokens**2 * width
    temporal = frames * 4 * width**2 + 2 * frames**2 * width
    added = dict(
        DividedAttention=(patches + 1) * temporal,
        MessageToken=frames * width**2 + temporal).get(name, 0)
    blocks = frames * (spatial + tokens * 8 * width**2)
    return layers * blocks, layers * added


@pytest.mark.parametrize('name', [
    None, 'TemporalShift', 'DividedAttention', 'MessageToken',
    'NeighbourAverage'
])
def test_comparisons_equal_closed_form(name):
    config = ROOT / 'configs/ila_motion.py'
    cfg = Config.fromfile(config)
    options = ['model.backbone.temporal=None']
    cfg.model.backbone.temporal = None
    if name:
        kind = f'{COMPARISONS}.{name}'
        options = [
            'model.backbone.temporal._delete_=True',
            f'model.backbone.temporal.type={kind}'
        ]
        cfg.model.backbone.temporal = dict(type=kind)
    macs, parameters = complexity.count(
        complexity.build_without_data(cfg.model), 8, (64, 64))
    blocks, added = other_macs(name, 64, 1, 64, 8)
    assert (macs['blocks'], macs['alignment']) == (blocks, added)
    # Linear layers with bias and a norm.
    linear, norm = 64 * 65, 2 * 64
    assert parameters['alignment'] == dict(
        DividedAttention=4 * linear + norm,
        MessageToken=5 * linear + norm).get(name, 0)

    out = run_tool(TOOL, config, '--cfg-options', *options).stdout
    assert f'{name or "none"} GMACs' in out and 'TokenAlignment' not in out
    assert re.search(rf'^blocks +{blocks / 1e9:.3f} ', out, re.M)


@pytest.mark.parametrize(
    'settings',
    [dict(bf16=True),
     dict(compile=True),
     dict(compile='temporal')])
def test_precision_and_compilation_change_no_count(settings):
    model = Config.fromfile(ROOT / 'configs/ila_motion.py').model
    expected, found = (
        complexity.count(
            complexity.build_without_data({
                **model,
                **more
            }), 8, (64, 64)) for more in (dict(), settings))
    assert found == expected


def test_type_with_a_scope_is_the_same(listed, tmp_path):
    config = tmp_path / 'config.py'
    config.write_text(f"_base_ = '{ROOT}/configs/ila_vitb32_k400.py'\nmodel = "
                      "dict(backbone=dict(temporal=dict("
                      "type='mmaction.TokenAlignment')))")
    rows, result = get_flops(config)
    assert 'published (paper): 40 GMACs' in result.stdout
    assert rows['total'] == pytest.approx(listed['ila_vitb32_k400'], abs=0.051)


def test_other_backbones_are_refused():
    model = dict(type='Recognizer3D', backbone=dict(type='ResNet3d'))
    with pytest.raises(ValueError, match="'ResNet3d', not 'ILABackbone'"):
        complexity.build_without_data(model)


def test_heat_maps_equal_closed_form():
    """Which the released form cannot have."""
    config = ROOT / 'configs/ila_figures.py'
    model = complexity.build_without_data(Config.fromfile(config).model)
    macs, _ = complexity.count(model, 8, (64, 64))
    maps = 8 * 64 * (64 * 64 + 9 * 64 * 32 + 32)
    assert macs['alignment'] == maps + 7 * 2 * 64 * 64  # and masked means
    rows, result = get_flops('configs/ila_figures.py')
    assert rows['alignment'][0] == pytest.approx(
        macs['alignment'] / 1e9, abs=5e-4)
    assert 'ReleasedAlignment' not in result.stdout


def test_plain_clip_against_a_closed_form():
    """Without a neck the frames are those of the test pipeline."""
    rows, result = get_flops('configs/clip_vitb16_zeroshot.py')
    assert 'one view of 8 x 224 x 224' in result.stdout
    blocks, _ = other_macs('', 768, 12, 196, 8)
    patches = 8 * 196 * 3 * 16 * 16 * 768
    assert rows['total'][0] == pytest.approx(
        (blocks + patches) / 1e9, abs=0.005)  # The head has less.
    row, = (
        line for line in (ROOT / 'README.md').read_text().splitlines()
        if line.startswith('| `clip_vitb16_zeroshot`'))
    assert row.split(' | ')[3:8:2] == [
        f"{rows['total'][0]:.1f}", '–', f"{rows['total'][1]:.1f}"
    ]


def test_default_temporal_module(tmp_path):
    """The backbone aligns unless a config says otherwise."""
    path = tmp_path / 'config.py'
    for temporal, names in (('', ['TokenAlignment', 'ReleasedAlignment']),
                            ('temporal=None,', ['none'])):
        path.write_text(f'''
_base_ = ['{ROOT}/configs/ila_motion_ablation.py']
model = dict(backbone=dict(
    _delete_=True, type='ILAVisionTransformer', img_size=64, {temporal}
    arch=dict(embed_dims=64, num_layers=1, num_heads=2, patch_size=8,
              feedforward_channels=64, out_channels=64)))
''')
        _, result = get_flops(path)
        assert re.findall(r'(\w+) GMACs', result.stdout) == names


def test_missing_config():
    result = run_tool(TOOL, 'none.py')
    assert result.returncode == 1
    assert 'Config file not found: none.py' in result.stderr
