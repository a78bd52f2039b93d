"""The project's configs with a small model, for the commands of its docs."""
import re
import shutil
import signal
import socket
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Dict, List, Tuple, Union
from urllib.request import urlopen

import pytest
from archives import clip_of
from commands import ROOT, run_command
from reference import load_reference
from torch import Tensor

from projects.ila.apis.deployment import ONNX_PACKAGES

# The sizes of `make_clip`, in place of ViT-B/16.
SMALL_BACKBONE = '''
model['backbone'].update(
    arch=dict(
        embed_dims=128,
        num_layers=1,
        num_heads=2,
        feedforward_channels=512,
        patch_size=16,
        out_channels=64),
    img_size=64)
'''
SMALL_MODEL = SMALL_BACKBONE + '''
model['neck'].update(embed_dims=64)
model['cls_head'].update(
    in_channels=64, patch_channels=128, text_encoder=dict(layers=1))
'''
SMALL_DATA = {
    'crop_size = 224': 'crop_size = 64',
    '(-1, 256)': '(-1, 72)',
    'num_workers=8': 'num_workers=0',
    'persistent_workers=True': 'persistent_workers=False'
}
# What commands need beside the project's own packages, by a part of them.
NEEDS = {
    'TensorboardVisBackend': ('tensorboard', ),
    'projects.ila.demo': ('gradio', 'av'),
    'tools/deployment/': ONNX_PACKAGES
}


def find_missing(command: str) -> List[str]:
    """Find the packages that a command needs and that are not there."""
    return [
        name for part, names in NEEDS.items() if part in command
        for name in names if find_spec(name) is None
    ]


def shrink_configs(folder: Path) -> None:
    """Copy all configs, with a small model and small videos."""
    shutil.copytree(ROOT / 'configs', folder / 'configs')
    with open(folder / 'configs/_base_/models/ila_vitb16.py', 'a') as file:
        file.write(SMALL_MODEL)
    with open(folder / 'configs/_base_/models/ila_vitb16_linear.py',
              'a') as file:
        file.write("model['cls_head'].update(in_channels=64)\n")
    # Its patches of 14 pixels do not divide the small videos.
    with open(folder / 'configs/generality/ila_eva02-b14_k400.py',
              'a') as file:
        file.write("model['backbone']['image'].update(img_size=64)\n"
                   "model['backbone']['image']['model'].update(patch_size=16)"
                   '\n')
    path = folder / 'configs/_base_/datasets/kinetics400.py'
    text = path.read_text()
    for old, new in SMALL_DATA.items():
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)


def make_clip() -> Dict[str, Tensor]:
    """Take the first block of both towers of a reference's CLIP."""
    return {
        name: value
        for name, value in clip_of(load_reference('k400_tiny_t4_s0')
                                   [1]).items()
        if not re.search(r'resblocks\.[1-9]', name)
    }


@contextmanager
def visited_page(folder):
    """Have the page visited when it is there, and closed again."""
    visits = []

    def visit(page):
        with urlopen(page.local_url) as answer:
            visits.append(answer.status)
        page.close()

    with pytest.MonkeyPatch.context() as patch:
        # The page sets these itself; here they are restored, too.
        patch.setenv('GRADIO_TEMP_DIR', str(folder))
        patch.setenv('GRADIO_ANALYTICS_ENABLED', 'False')
        import gradio
        patch.setattr(signal, 'signal', lambda *_: None)  # pytest's remain.
        patch.setattr(gradio.Blocks, 'block_thread', visit)
        yield
    assert visits == [200]


def run_small(command: str, folder: Path) -> Tuple[Union[int, str, None], str]:
    """Run a command, a web page at a free port and until it was visited.

    Args:
        command (str): See :func:`commands.run_command`.
        folder (Path): Where the page may write.

    Returns:
        tuple: See :func:`commands.run_command`.
    """
    if 'projects.ila.demo' not in command:
        return run_command(command)
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    with visited_page(folder):
        return run_command(f'{command} --port {port}')
