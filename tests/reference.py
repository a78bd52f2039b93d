"""Reference numbers of the released implementation, see tests/data.

Weights and videos are not stored: each is drawn from a generator that is
seeded by its name or shape.
"""
import gc
import json
import math
import zlib
from pathlib import Path

import numpy as np
import torch

DATA = Path(__file__).parent / 'data'
NAMES = sorted(path.stem for path in DATA.glob('*.npz'))


def draw_weight(name: str, shape: list, seed: int) -> torch.Tensor:
    """Draw the weight ``name`` of a reference state dict."""
    if name.endswith('num_batches_tracked'):
        return torch.zeros(shape, dtype=torch.int64)
    if name.endswith('logit_scale'):
        return torch.full(shape, np.log(1 / 0.07), dtype=torch.float32)
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    noise = rng.standard_normal(tuple(shape))
    fan_in = np.prod(shape[1:], dtype=float)
    # The first rule whose ending fits decides.
    for endings, value in (
        (('running_var', ), lambda: 0.5 + abs(noise)),
        (('running_mean', ), lambda: 0.1 * noise),
        (('positional_embedding', 'class_embedding'), lambda: 0.1 * noise),
        (('alpha', ), lambda: 0.1 + 0.01 * noise),
        (('bias', ), lambda: 0.02 * noise),
        (('' if len(shape) == 1 else 'no norm', ), lambda: 1 + 0.1 * noise),
        (('token_embedding.weight', ), lambda: 0.02 * noise),
        (('proj', 'text_projection'), lambda: noise * shape[0]**-0.5),
        (('', ), lambda: noise * fan_in**-0.5),
    ):
        if name.endswith(endings):
            return torch.from_numpy(value().astype(np.float32))


def number_weights(name: str) -> dict:
    """Number the entries of a reference's weights, which is quick."""
    info = json.loads((DATA / f'{name}.json').read_text())
    return {
        key:
        index + torch.arange(math.prod(shape), dtype=torch.int32).view(shape)
        for index, (key, shape) in enumerate(info['state_dict'].items())
    }


def load_reference(name: str) -> tuple:
    """Load one reference.

    Returns:
        tuple: Its description, state dict, videos ``(B, T, 3, H, W)`` and
        expected arrays.
    """
    if 'tiny' not in name:
        gc.collect()  # Frees the models of full size before this one.
    info = json.loads((DATA / f'{name}.json').read_text())
    seed = info['seed']
    state_dict = {
        key: draw_weight(key, shape, seed)
        for key, shape in info['state_dict'].items()
    }
    size = info['arch']['image_resolution']
    rng = np.random.default_rng(
        [seed, info['batch'], info['num_frames'], size])
    video = rng.standard_normal(
        (info['batch'], info['num_frames'], 3, size, size))
    with np.load(DATA / f'{name}.npz') as arrays:
        expected = {key: torch.from_numpy(arrays[key]) for key in arrays}
    return info, state_dict, torch.from_numpy(video).float(), expected
