"""Frames of EgoGestAR's clips for benchmarks/gestures.py, and their tokens."""
import random
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import projects.ila  # noqa: F401
from mmaction.registry import MODELS
from projects.ila.utils import mix_seed


class Data(NamedTuple):
    """Data for training and testing.

    Attributes:
        frames (Tensor): ``(1 + copies, clips, 3, T, H, W)``, uint8; the first
            version is not augmented.
        tokens (Tensor): ``(1 + copies, clips, T, L, C)``, outputs of the
            frozen blocks.
        view_frames (Tensor): Like ``frames``, for the views of the test.
        view_tokens (Tensor): Like ``tokens``, for the views of the test.
        labels (Tensor): ``(clips,)``.
        folds (dict[str, Tensor]): Masks of the clips that a fold leaves out.
    """
    frames: Tensor
    tokens: Tensor
    view_frames: Tensor
    view_tokens: Tensor
    labels: Tensor
    folds: Dict[str, Tensor]

    def to(self, device: str) -> 'Data':
        """Move the large tensors to a device."""
        names = 'frames', 'tokens', 'view_frames', 'view_tokens'
        return self._replace(
            **{name: getattr(self, name).to(device)
               for name in names})


class Versions(Dataset):
    """The whole frames of each clip, then augmented versions of them.

    Items are ``(1, 3, T, H, W)``, uint8. With ``views`` there is one version,
    ``(views, 3, T, H, W)``. Random numbers depend only on the item.
    """

    def __init__(self, cfg: Config, clips: List[str], copies: int,
                 views: bool) -> None:
        whole = cfg.test_pipeline if views else cfg.val_pipeline
        self.pipelines = Compose(whole), Compose(cfg.train_pipeline)
        self.clips = clips
        self.copies = copies

    def __len__(self) -> int:
        return len(self.clips) * (1 + self.copies)

    def __getitem__(self, index: int) -> Tensor:
        # Spawned processes, unlike forked ones, have no default scope.
        init_default_scope('mmaction')
        for draw in (random.seed, np.random.seed, torch.manual_seed):
            draw(mix_seed(0, index))
        version, clip = divmod(index, len(self.clips))
        sample = self.pipelines[version > 0](
            dict(
                filename=self.clips[clip],
                start_index=0,
                modality='RGB',
                label=0))
        return sample['inputs']


def read_frames(cfg: Config,
                clips: List[str],
                workers: int,
                copies: int = 0,
                views: bool = False) -> Tensor:
    """Read ``(1 + copies or views, clips, 3, T, H, W)``, uint8."""
    data = Versions(cfg, clips, copies, views)
    loader = DataLoader(data, batch_size=None, num_workers=workers)
    frames = None
    for index, item in enumerate(loader):
        if frames is None:
            frames = item.new_empty(len(data), *item.shape)
        frames[index] = item
        if index % len(clips) == 0:
            print(
                f'frames of version {index // len(clips)} of {copies}',
                flush=True)
    frames = frames.unflatten(0, (-1, len(clips))).transpose(1, 2)
    return frames.flatten(0, 1)


def normalise(cfg: Config, frames: Tensor) -> Tensor:
    """Normalise frames ``(..., 3, T, H, W)`` as the model's config says."""
    mean, std = (
        frames.new_tensor(
            cfg.model.data_preprocessor[key],
            dtype=torch.float32).view(3, 1, 1, 1) for key in ('mean', 'std'))
    return (frames - mean) / std


@torch.no_grad()
def compute_tokens(cfg: Config, frames: Tensor, device: str) -> Tensor:
    """Compute the outputs of the blocks before the temporal modules.

    Returns:
        Tensor: ``(versions, clips, T, L, C)``, float16.
    """
    image = MODELS.build(cfg.model.backbone.image).eval()
    image.init_weights()
    image.to(device)
    tokens = []
    for part in frames.flatten(0, 1).split(64):
        images = normalise(cfg, part.to(device)).transpose(1, 2)
        x, positions = image.embed(images.flatten(0, 1))
        for block in range(min(cfg.model.backbone.layers)):
            x = image.run(block, x, positions)
        tokens.append(x.unflatten(0, images.shape[:2]).half().cpu())
    return torch.cat(tokens).unflatten(0, frames.shape[:2])


def shrink(cfg: Config, frames: Tensor) -> Tensor:
    """Shrink whole frames ``(clips, 3, T, H, W)`` to ``(clips, T, 16, 16)``,
    in grey."""
    grey = normalise(cfg, frames).mean(1)
    return F.interpolate(grey, (16, 16), mode='area')


def find_motion(cfg: Config, frames: Tensor) -> Tensor:
    """Get differences of whole frames ``(clips, 3, T, H, W)`` from the median
    over time, in grey, ``(clips, T, 16, 16)``."""
    grey = shrink(cfg, frames)
    return (grey - grey.median(1, keepdim=True).values).abs()


def load(path: Path) -> Dict[str, Tensor]:
    """Load tensors, without a copy if several processes read them."""
    return torch.load(path, weights_only=True, mmap=True)


def choose(labels: Tensor, clips_per_class: Optional[int]) -> Tensor:
    """Draw a mask of some clips of each class, or of all if None."""
    order = torch.randperm(len(labels))
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        own = order[labels[order] == label]
        chosen[own[:clips_per_class]] = True
    return chosen
