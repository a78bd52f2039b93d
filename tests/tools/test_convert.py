import os
import re
from pathlib import Path

import pytest
import torch
from archives import clip_of, save_torchscript
from commands import ROOT, run_tool
from reference import load_reference

from projects.ila.weights import read_checkpoint

OPTIONS = [
    'model.backbone.arch._delete_=True', 'model.backbone.arch.embed_dims=128',
    'model.backbone.arch.num_layers=3', 'model.backbone.arch.num_heads=2',
    'model.backbone.arch.feedforward_channels=512',
    'model.backbone.arch.patch_size=16', 'model.backbone.arch.out_channels=64',
    'model.backbone.img_size=64', 'model.neck.embed_dims=64',
    'model.neck.num_frames=4', 'model.cls_head.in_channels=64'
]
TEXT_OPTIONS = [
    'model.cls_head.patch_channels=128', 'model.cls_head.text_encoder.layers=2'
]


def convert(tool, config, source, target, options):
    return run_tool(f'tools/convert/{tool}.py', ROOT / f'configs/{config}.py',
                    source, target, '--cfg-options', *options)


@pytest.fixture
def k400(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    info, weights, _, _ = load_reference('k400_tiny_t4_s0')
    names = str(info['class_names']).replace(' ', '')
    return weights, [
        *OPTIONS, *TEXT_OPTIONS, f'model.cls_head.class_names={names}'
    ]


def test_clip_to_ila(k400):
    weights, options = k400
    save_torchscript(clip_of(weights), 'ViT.pt')
    result = convert('clip_to_ila', 'ila_vitb16_k400', 'ViT.pt',
                     'a.safetensors', options)
    assert result.returncode == 0, result.stderr
    assert 'left over     0' in result.stdout
    assert 'x backbone.temporal.*.alignment' in result.stdout
    assert 'source: ViT.pt' in result.stdout
    checkpoint = read_checkpoint('a.safetensors')
    assert checkpoint['meta']['ila']['temporal'] == 'TokenAlignment'
    torch.testing.assert_close(
        checkpoint['state_dict']['backbone.image.model.cls_token'].flatten(),
        weights['visual.class_embedding'].half().float())


def test_released_to_ila_and_back(k400):
    weights, options = k400
    torch.save(dict(model=weights), 'a.pth')
    config = 'released/ila_vitb16_k400'
    result = convert('released_to_ila', config, 'a.pth', 'b.pth', options)
    assert result.returncode == 0, result.stderr
    result = convert('ila_to_released', config, 'b.pth', 'c.pth', options)
    assert result.returncode == 0, result.stderr
    assert f'matched   {len(weights):5}' in result.stdout
    back = torch.load('c.pth', weights_only=True)['model']
    assert back.keys() == weights.keys()
    assert all(torch.equal(back[key], weights[key]) for key in weights)


@pytest.mark.parametrize('tool, config, content, message', [
    ('clip_to_ila', 'ila_vitb16_k400', b'no archive',
     "weight file 'a.pth' cannot be read"),
    ('released_to_ila', 'released/ila_vitb16_k400', 'ssv2',
     'a.pth: the weights lack'),
    ('released_to_ila', 'released/ila_vitb16_ssv2', 'k400',
     'a.pth: the weights lack'),
    ('released_to_ila', 'ila_vitb16_k400', 'k400',
     "a.pth: the weights have .* in their temporal modules"),
])
def test_bad_files_write_nothing(k400, tool, config, content, message):
    options = OPTIONS if 'ssv2' in config else k400[1]
    if isinstance(content, bytes):
        Path('a.pth').write_bytes(content)
    else:
        torch.save(
            dict(model=load_reference(f'{content}_tiny_t4_s0')[1]), 'a.pth')
    result = convert(tool, config, 'a.pth', 'b.pth', options)
    assert result.returncode == 1
    assert re.match(message, result.stderr.strip().splitlines()[-1])
    assert os.listdir() == ['a.pth']
