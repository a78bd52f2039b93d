"""The variants that benchmarks/gestures.py compares, and their training."""
import copy
import gc
import math
import time
from typing import NamedTuple, Optional

import torch
import torch.nn.functional as F
from gesture_data import Data, choose, normalise
from gesture_points import correlate, locate_motion
from mmengine.config import Config, ConfigDict
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIMIZERS
from torch import Tensor, nn

import projects.ila  # noqa: F401
from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from projects.ila.models.images.timm import TimmImage


def compared(name: str) -> dict:
    """Make the config of a temporal module from ``comparisons``."""
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

# For each choice of trained image weights, their relative learning rate.
LR_MULT = dict(frozen=1., head=1., upper=0.05, all=0.05, lora=0.5)


class Run(NamedTuple):
    """A training run.

    Attributes:
        variant (str): One of :data:`VARIANTS`.
        train_image (str): One of :data:`LR_MULT`. ``'upper'`` trains the
            blocks from the alignment on. ``'head'`` also freezes the temporal
            module, so that only neck and head are trained.
        clips_per_class (int, optional): Training clips per class; None for
            all.
        epochs (int): Passes through these clips.
        fold (str): The recorders that are held out and predicted.
        seed (int): Seed of all random numbers.
    """
    variant: str
    train_image: str
    clips_per_class: Optional[int]
    epochs: int
    fold: str
    seed: int

    @property
    def reads_tokens(self) -> bool:
        return self.train_image in ('frozen', 'head', 'upper')

    def __str__(self) -> str:
        return '_'.join([
            self.variant, self.train_image, f'{self.clips_per_class or "all"}',
            f'{self.epochs}epochs', self.fold, f'seed{self.seed}'
        ])


def run_for_class_token(block: nn.Module, tokens: Tensor) -> Tensor:
    """Run a block of timm's ``VisionTransformer`` for its first token only.

    Args:
        block (nn.Module): The block.
        tokens (Tensor): ``(N, L, C)``.

    Returns:
        Tensor: ``(N, 1, C)``, at a sixth of the cost.
    """
    attn, inputs = block.attn, block.norm1(tokens)
    parts = zip((inputs[:, :1], inputs, inputs), attn.qkv.weight.chunk(3),
                attn.qkv.bias.chunk(3))
    query, key, value = (
        F.linear(*part).unflatten(2, (attn.num_heads, -1)).transpose(1, 2)
        for part in parts)
    found = F.scaled_dot_product_attention(query, key, value)
    found = attn.proj(found.transpose(1, 2).flatten(2))
    first = tokens[:, :1] + block.ls1(found)
    return first + block.ls2(block.mlp(block.norm2(first)))


@MODELS.register_module(force=True)
class UpperBlocks(TimmImage):
    """The blocks from ``start`` on of a model with timm's weights.

    Its input is ``tokens``, outputs of the lower blocks, instead of images.
    The last block computes only what is needed: class tokens, or nothing.
    """
    tokens: Tensor

    def __init__(self, start: int, reads_frames: bool, **kwargs) -> None:
        super().__init__(**kwargs)
        self.reads_frames = reads_frames
        super().init_weights()
        self.model.blocks = self.model.blocks[start:]

    def init_weights(self) -> None:
        """Do nothing, since the weights are already loaded."""

    def run(self, number: int, tokens: Tensor, positions: None) -> Tensor:
        if number < len(self.blocks) - 1:
            return super().run(number, tokens, positions)
        if not self.reads_frames:
            return tokens
        frames = run_for_class_token(self.blocks[number], tokens)
        return torch.cat([frames, tokens[:, 1:]], dim=1)

    def embed(self, images: Tensor) -> tuple:
        return self.tokens.flatten(0, 1), None


def make_model_cfg(cfg: Config, run: Run, whole: bool = False) -> ConfigDict:
    """Make the config of a run's model: of the upper blocks only, unless
    ``whole`` is set or lower blocks are trained as well."""
    temporal, neck, weight = VARIANTS[run.variant]
    model = copy.deepcopy(cfg.model)
    model.align_loss_weight = weight
    backbone = model.backbone
    if run.reads_tokens and not whole:
        start = min(backbone.layers)
        backbone.image.update(
            type='UpperBlocks',
            start=start,
            reads_frames=not neck or neck['type'] != 'TrajectoryTransformer'
            or 'in_channels' in neck)
        backbone.layers = [number - start for number in backbone.layers]
    if run.train_image == 'upper':
        backbone.freeze_image = min(backbone.layers)
    elif not run.reads_tokens:
        backbone.freeze_image = False
    if run.train_image == 'lora':
        backbone.lora = dict(rank=8)
    backbone.temporal = temporal and ConfigDict(temporal)
    if not temporal:
        backbone.layers = None
    model.neck = neck and ConfigDict(neck)
    model.cls_head.in_channels = neck['embed_dims'] if neck else 384
    return model


def build_optimizer(cfg: Config, model: nn.Module, run: Run) -> OptimWrapper:
    """Build the config's optimizer, with a lower rate for image weights."""
    image = set(model.backbone.image.parameters())
    trained = [value for value in model.parameters() if value.requires_grad]
    own = cfg.optim_wrapper.optimizer
    # MMEngine would make one group per parameter, which is slower.
    groups = [
        dict(
            params=[value for value in trained if value in image],
            lr=own.lr * LR_MULT[run.train_image]),
        dict(params=[value for value in trained if value not in image])
    ]
    groups = [group for group in groups if group['params']]
    optimizer = OPTIMIZERS.build(dict(own, params=groups))
    return OptimWrapper(optimizer, clip_grad=cfg.optim_wrapper.clip_grad)


def train(cfg: Config, run: Run, data: Data, device: str) -> dict:
    """Train on all clips except those of a fold, and predict the fold.

    On a GPU, backbone and neck run in bfloat16, unless the config sets
    ``model.bf16``.

    Returns:
        dict: ``scores`` and ``shuffled`` (clips of the fold, classes);
        ``points``, the correlation of the first view's points with motion, or
        None; ``seconds`` of the training (CPU time on a CPU); its ``steps``;
        and ``memory``, MiB of GPU memory in addition to the data.
    """
    on_gpu = device.startswith('cuda')
    held = 0
    if on_gpu:
        gc.collect()  # Models contain reference cycles.
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
    torch.manual_seed(run.seed)
    model_cfg = make_model_cfg(cfg, run)
    model = MODELS.build({'bf16': on_gpu, **model_cfg})
    model.init_weights()
    model.to(device)
    if run.train_image == 'head':
        model.backbone.requires_grad_(False)
    batch_size, size = cfg.train_dataloader.batch_size, cfg.crop_size

    def forward(frames: Tensor, tokens: Tensor, versions: Tensor,
                indices: Tensor, order: Tensor, **kwargs):
        samples = [
            ActionDataSample().set_gt_label(label)
            for label in data.labels[indices].tolist()
        ]
        indices, versions, order = (
            part.to(device) for part in (indices, versions, order))
        if run.reads_tokens:
            tokens = tokens[versions, indices][:, order]
            model.backbone.image.tokens = tokens.float()
            inputs = torch.zeros(
                1, device=device).expand(
                    len(indices), 1, 3, len(order), size, size)
        else:
            inputs = frames[versions, indices][:, :, order]
            inputs = normalise(cfg, inputs)[:, None]
        return model(inputs, samples, **kwargs)

    test = data.folds[run.fold]
    order = torch.arange(cfg.num_frames)
    others = (~test).nonzero()[:, 0]
    others = others[choose(data.labels[others], run.clips_per_class)]
    optimizer = build_optimizer(cfg, model, run)
    steps = run.epochs * math.ceil(len(others) / batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer.optimizer,
        [group['lr'] for group in optimizer.optimizer.param_groups],
        steps,
        pct_start=0.1)
    clock = time.perf_counter if on_gpu else time.process_time
    start = clock()
    for _ in range(run.epochs):
        model.train()
        for indices in others[torch.randperm(len(others))].split(batch_size):
            versions = torch.randint(len(data.frames), (len(indices), ))
            losses = forward(
                data.frames,
                data.tokens,
                versions,
                indices,
                order,
                mode='loss')
            optimizer.update_params(model.parse_losses(losses)[0])
            schedule.step()
    if on_gpu:
        torch.cuda.synchronize()
    seconds = clock() - start
    memory = 0
    if on_gpu:
        memory = (torch.cuda.max_memory_allocated() - held) / 2**20
    model.eval()
    indices = test.nonzero()[:, 0]
    orders = order, torch.randperm(len(order))
    with torch.no_grad():
        scores, shuffled = [], []
        for into, frames in zip((scores, shuffled), orders):
            for view in range(len(data.view_frames)):
                versions = torch.full_like(indices, view)
                found = forward(
                    data.view_frames,
                    data.view_tokens,
                    versions,
                    indices,
                    frames,
                    mode='tensor')
                into.append(found['logits'].softmax(1))
                if into is scores and not view:
                    points = found.get('points')
    if points is not None:
        motion = locate_motion(cfg, data.view_frames[0, indices])
        points = correlate(points, motion)
    return dict(
        scores=torch.stack(scores).mean(0).tolist(),
        shuffled=torch.stack(shuffled).mean(0).tolist(),
        points=points,
        seconds=seconds,
        steps=steps,
        memory=memory)
