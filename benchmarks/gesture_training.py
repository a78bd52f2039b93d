"""The variants that benchmarks/gestures.py compares, and their training."""
import copy
import math
import time
from typing import List, Optional

import torch
import torch.nn.functional as F
from mmengine.config import Config, ConfigDict
from mmengine.dataset import Compose, pseudo_collate
from mmengine.optim import build_optim_wrapper
from torch import Tensor

import projects.ila  # noqa: F401
from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from projects.ila.models.images.timm import TimmImage


def compared(name: str) -> dict:
    """Make the config of a temporal module for comparisons."""
    return dict(type=f'projects.ila.models.temporal.comparisons.{name}')


TRANSFORMER = dict(
    type='MultiframeIntegrationTransformer', embed_dims=384, num_frames=8)
TOKEN = dict(type='TokenAlignment')
ADDITIONS = dict(TOKEN, difference=True, motion_loss=True)
HEAT_MAP = dict(
    TOKEN,
    num_points=4,
    motion_loss=True,
    predictor=dict(type='HeatMapPredictor'))
TRAJECTORIES = dict(type='TrajectoryTransformer', embed_dims=128, num_points=4)
# Temporal module, neck and weight of the alignment loss.
VARIANTS = {
    'none, frames averaged': (None, None, 0),
    'none': (None, TRANSFORMER, 0),
    'temporal shift': (compared('TemporalShift'), TRANSFORMER, 0),
    'divided attention': (compared('DividedAttention'), TRANSFORMER, 0),
    'message token': (compared('MessageToken'), TRANSFORMER, 0),
    'average of neighbours': (compared('NeighbourAverage'), TRANSFORMER, 0),
    'ILA token': (TOKEN, TRANSFORMER, 1),
    'ILA token, additions': (ADDITIONS, TRANSFORMER, 1),
    'ILA released': (dict(type='ReleasedAlignment'), TRANSFORMER, 1),
    'ILA heat maps': (HEAT_MAP, TRANSFORMER, 1),
    'ILA trajectories': (HEAT_MAP, TRAJECTORIES, 0),
    'ILA trajectories, alignment loss': (HEAT_MAP, TRAJECTORIES, 1),
    'ILA trajectories, frames': (HEAT_MAP, dict(TRAJECTORIES,
                                                in_channels=384), 0),
}


@MODELS.register_module(force=True)
class UpperBlocks(TimmImage):
    """The blocks from ``start`` on of a model with timm's weights.

    Instead of images it embeds ``tokens``, what the others make of them.
    """
    tokens: Tensor

    def __init__(self, start: int, unread: bool, **kwargs) -> None:
        super().__init__(**kwargs)
        self.unread = unread  # Nothing looks at what the blocks give.
        super().init_weights()
        self.model.blocks = self.model.blocks[start:]

    def init_weights(self) -> None:
        """They are there already."""

    def run(self, number: int, tokens: Tensor, positions: None) -> Tensor:
        return tokens if self.unread else super().run(number, tokens,
                                                      positions)

    def embed(self, images: Tensor) -> tuple:
        return self.tokens.flatten(0, 1), None


def compute_tokens(cfg: Config, clips: List[str], copies: int) -> dict:
    """Compute what the lower blocks make of the clips.

    Returns:
        dict[str, Tensor]: ``tokens`` (1 + copies, clips, T, L, C), the first
        of the whole frames, and ``grey`` (clips, T, 16, 16).
    """
    image = MODELS.build(cfg.model.backbone.image).eval()
    image.init_weights()
    preprocessor = MODELS.build(cfg.model.data_preprocessor)
    pipelines = [Compose(cfg.val_pipeline)
                 ] + [Compose(cfg.train_pipeline)] * copies
    tokens, grey = [], []
    for number, pipeline in enumerate(pipelines):
        versions = []
        for clip in clips:
            sample = pipeline(
                dict(filename=clip, start_index=0, modality='RGB', label=0))
            data = preprocessor(pseudo_collate([sample]))
            frames = data['inputs'][0, 0].transpose(0, 1)
            if number == 0:
                small = F.interpolate(
                    frames.mean(1, True), (16, 16), mode='area')
                grey.append(small[:, 0])
            with torch.no_grad():
                x, positions = image.embed(frames)
                for block in range(min(cfg.model.backbone.layers)):
                    x = image.run(block, x, positions)
            versions.append(x.half())
        tokens.append(torch.stack(versions))
        print(f'tokens of version {number} of {copies}', flush=True)
    return dict(tokens=torch.stack(tokens), grey=torch.stack(grey))


def make_model_cfg(cfg: Config, name: str, whole: bool = False) -> ConfigDict:
    """Make the config of a variant; unless ``whole`` of the upper blocks."""
    temporal, neck, weight = VARIANTS[name]
    model = copy.deepcopy(cfg.model)
    model.align_loss_weight = weight
    start = min(model.backbone.layers)
    if not whole:
        model.backbone.image.update(
            type='UpperBlocks',
            start=start,
            unread=bool(neck) and neck['type'] == 'TrajectoryTransformer'
            and 'in_channels' not in neck)
    model.backbone.temporal = temporal and ConfigDict(temporal)
    model.backbone.layers = None
    if temporal:
        model.backbone.layers = [start if whole else 0]
    model.neck = neck and ConfigDict(neck)
    model.cls_head.in_channels = neck['embed_dims'] if neck else 384
    return model


def choose(labels: Tensor, clips_per_class: Optional[int]) -> Tensor:
    """Draw a mask of at most so many clips of each class; all with None."""
    order = torch.randperm(len(labels))
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        own = order[labels[order] == label]
        chosen[own[:clips_per_class]] = True
    return chosen


def train(cfg: Config, name: str, tokens: Tensor, labels: Tensor, test: Tensor,
          seed: int, epochs: int, clips_per_class: Optional[int]) -> dict:
    """Train a variant on all clips but those of ``test``, and predict them."""
    torch.manual_seed(seed)
    model = MODELS.build(make_model_cfg(cfg, name))
    model.init_weights()
    image = model.backbone.image
    batch_size, size = cfg.train_dataloader.batch_size, cfg.crop_size

    def run(indices: Tensor, versions: Tensor, order: Tensor, **kwargs):
        image.tokens = tokens[versions, indices][:, order].float()
        inputs = torch.zeros(1).expand(
            len(indices), 1, 3, len(order), size, size)
        samples = [
            ActionDataSample().set_gt_label(int(label))
            for label in labels[indices]
        ]
        return model(inputs, samples, **kwargs)

    order = torch.arange(tokens.shape[2])
    others = (~test).nonzero()[:, 0]
    others = others[choose(labels[others], clips_per_class)]
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper)
    steps = epochs * math.ceil(len(others) / batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer.optimizer, [group['lr'] for group in optimizer.param_groups],
        steps,
        pct_start=0.1)
    start = time.process_time()
    for _ in range(epochs):
        model.train()
        for indices in others[torch.randperm(len(others))].split(batch_size):
            versions = torch.randint(len(tokens), (len(indices), ))
            losses = run(indices, versions, order, mode='loss')
            optimizer.update_params(model.parse_losses(losses)[0])
            schedule.step()
    seconds = time.process_time() - start
    model.eval()
    indices = test.nonzero()[:, 0]
    whole = torch.zeros_like(indices)
    with torch.no_grad():
        scores, shuffled = (
            run(indices, whole, frames,
                mode='tensor')['logits'].softmax(1).tolist()
            for frames in (order, torch.randperm(len(order))))
    return dict(scores=scores, shuffled=shuffled, seconds=seconds)
