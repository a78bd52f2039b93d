import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config
from modules import load_module

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / 'tools/analysis/get_flops.py'

tool = load_module(TOOL)


def get_flops(config, *args, cwd=ROOT):
    result = subprocess.run([sys.executable, TOOL, ROOT / config, *args],
                            cwd=cwd,
                            capture_output=True,
                            text=True,
                            env={
                                **os.environ, 'PYTHONWARNINGS': 'ignore'
                            })
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
    mlp = (patches + 1) * 8 * width**2
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


def test_counts_equal_closed_form(tmp_path):
    """Attention's own products are counted; any working directory is fine."""
    rows, result = get_flops('configs/ila_vitb16_k400.py', cwd=tmp_path)
    expected = token_form_macs(768, 12, 196, 8, 512, 400)
    expected['patch embedding'] = 8 * 196 * 3 * 16 * 16 * 768
    for part, macs in expected.items():
        assert rows[part][0] == pytest.approx(macs / 1e9, abs=0.006), part
    assert rows['total'][0] == pytest.approx(
        sum(expected.values()) / 1e9, abs=0.01)
    assert 'published' not in result.stdout


@pytest.mark.parametrize('config, options, published, difference', [
    ('ila_vitb32_k400', [], 40, -0.0315),
    ('ila_vitb16_k400', ['--shape', '16', '224', '224'], 295, -0.007),
    ('ila_vitl14_k400', [], 673, -0.006),
    ('ila_vitl14-336_16f_k400', [], 3130, 0.001),
    ('ila_vitb16_16f_ssv2', [], 438, 0.002),
    ('ila_vitl14_ssv2', [], 907, -0.017),
    ('ila_vitl14-336_16f_ssv2', [], 3723, 0.136),
])
def test_token_form_against_the_paper(config, options, published, difference):
    rows, result = get_flops(f'configs/{config}.py', *options)
    assert f'{published} GMACs' in result.stdout
    assert rows['total'][0] == pytest.approx(
        published * (1 + difference), rel=1e-3)
    assert rows['total'][2] > 1.1 * published  # the released form


def test_difference_adds_a_linear_layer_of_every_frame():
    rows, _ = get_flops('configs/ila_vitb16_k400.py')
    added, result = get_flops('configs/ila_vitb16_k400.py', '--cfg-options',
                              'model.backbone.temporal.difference=True')
    assert added['alignment'] == [
        pytest.approx(rows['alignment'][0] + 12 * 8 * 768**2 / 1e9, abs=2e-3),
        pytest.approx(rows['alignment'][1] + 12 * 768**2 / 1e6, abs=2e-3)
    ]
    assert 'released' not in result.stdout


def other_form_macs(form, width, layers, patches, frames):
    """Count blocks and what a form adds to them by hand."""
    tokens = patches + 1 + (form in ('message', 'neighbours'))
    spatial = tokens * 4 * width**2 + 2 * tokens**2 * width
    temporal = frames * 4 * width**2 + 2 * frames**2 * width
    added = dict(
        divided=(patches + 1) * temporal,
        message=frames * width**2 + temporal).get(form, 0)
    blocks = frames * (spatial + (patches + 1) * 8 * width**2)
    return layers * blocks, layers * added


@pytest.mark.parametrize('form',
                         ['none', 'shift', 'divided', 'message', 'neighbours'])
def test_other_forms_equal_closed_form(form, monkeypatch, capsys):
    cfg = Config.fromfile(ROOT / 'configs/ila_motion.py')
    cfg.model.backbone.update(form=form, alignment=None)
    macs, parameters = tool.count(cfg.model, 8, (64, 64))
    blocks, added = other_form_macs(form, 64, 1, 64, 8)
    assert (macs['blocks'], macs['alignment']) == (blocks, added)
    # Linear layers with bias and a norm.
    linear, norm = 64 * 65, 2 * 64
    assert parameters['alignment'] == dict(
        divided=4 * linear + norm, message=5 * linear + norm).get(form, 0)

    monkeypatch.setattr(sys, 'argv', [
        TOOL.name,
        str(ROOT / 'configs/ila_motion.py'), '--cfg-options',
        f'model.backbone.form={form}', 'model.backbone.alignment=None'
    ])
    tool.main()
    out = capsys.readouterr().out
    assert f'{form} GMACs' in out and 'token' not in out
    assert re.search(rf'^blocks +{blocks / 1e9:.3f} ', out, re.M)


def test_without_neck_the_shape_must_be_given(monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', [
        TOOL.name,
        str(ROOT / 'configs/ila_motion.py'), '--cfg-options', 'model.neck=None'
    ])
    with pytest.raises(SystemExit, match='without `model.neck`.*--shape'):
        tool.main()
    sys.argv += ['--shape', '8', '64', '64']
    tool.main()
    assert 'one view of 8 x 64 x 64' in capsys.readouterr().out


def test_missing_config():
    result = subprocess.run([sys.executable, TOOL, 'none.py'],
                            capture_output=True,
                            text=True)
    assert result.returncode == 1
    assert 'Config file not found: none.py' in result.stderr
