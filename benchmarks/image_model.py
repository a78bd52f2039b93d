"""Train an image model for generated videos, like CLIP for real videos."""
from pathlib import Path
from typing import List

import numpy as np
import torch
from mmengine.config import Config
from torch import nn

from mmaction.registry import MODELS
from projects.ila.datasets.motion import CLASSES, render_states
from projects.ila.utils.atomic_file import replacing

# Differs from the seeds of the data sets, which are three numbers.
SEED = 10**6
FRAMES = 8  # frames of each video, which are images for the model
VIDEOS = 16  # videos in a batch
LEVEL = 2  # single frames have everything that later levels show


def image_weights_setting(path: Path) -> List[str]:
    """Settings to start a model from an image model's weights."""
    return [
        f'model.backbone.init_cfg.{key}={value}'
        for key, value in (('type', 'Pretrained'), ('checkpoint', path))
    ]


def train_image_model(cfg: Config, path: Path, steps: int) -> None:
    """Train an image backbone to predict the state of a frame's target.

    It learns sine and cosine of the target's four states, see
    ``datasets/motion/motions.py``, from single frames, and so nothing about
    motion.

    Args:
        cfg (Config): Config with the image backbone and preprocessing.
        path (Path): File for the weights, unless it exists.
        steps (int): Number of batches.

    Raises:
        ValueError: The file holds a model with another number of steps.
    """
    if path.exists():
        found = torch.load(path, weights_only=True).get('steps')
        if found != steps:
            raise ValueError(f'{path} was trained for {found} steps instead '
                             f'of {steps}; delete it, or take another '
                             '--work-dir')
        return
    torch.manual_seed(0)
    backbone = MODELS.build({**cfg.model.backbone, 'temporal': None})
    backbone.init_weights()
    preprocessor = MODELS.build(cfg.model.data_preprocessor)
    head = nn.Linear(cfg.model.cls_head.in_channels, 8)
    parameters = [*backbone.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(
        parameters, betas=(0.9, 0.98), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 2e-3, total_steps=steps, pct_start=0.1)
    size = cfg.data_settings['size']
    for step in range(steps):
        videos, states = zip(
            *(render_states(index %
                            len(CLASSES), (SEED, index), FRAMES, size, LEVEL)
              for index in range(step * VIDEOS, (step + 1) * VIDEOS)))
        inputs = [
            torch.from_numpy(video).permute(3, 0, 1, 2)[None]
            for video in videos
        ]
        inputs, _ = preprocessor.preprocess(inputs, None)
        angles = 2 * np.pi * torch.from_numpy(np.stack(states)).float()
        targets = torch.cat([angles.sin(), angles.cos()], dim=-1)
        loss = (head(backbone(inputs.flatten(0, 1)).frames) -
                targets).square().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.)
        optimizer.step()
        schedule.step()
        if step % 100 == 0 or step == steps - 1:
            print(f'image model, step {step}: loss {loss:.3f}', flush=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(str(path)) as partial:
        torch.save(
            dict(state_dict=backbone.state_dict(), steps=steps), partial)
