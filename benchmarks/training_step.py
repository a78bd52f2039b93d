"""A training step, in several versions."""
from typing import Callable, Optional

import torch
from models import QUICK_GELU, PlainCLIP, build_ila, make_straightforward
from torch import Tensor, nn

# Versions of ILA's training: whether it is the straightforward version, and
# settings of recognizer and backbone.
RECIPES = {
    'straightforward': (True, {}, {}),
    'optimised': (False, {}, {}),
    'recomputed': (False, {}, dict(with_cp=True)),
    'bf16': (False, dict(bf16=True), {}),
}


def make_step(model: nn.Module,
              video: Tensor,
              classify: Optional[Callable] = None) -> Callable[[], Tensor]:
    """Make a forward and backward pass that returns the loss.

    For ILA, the alignment loss is added to a loss of the logits. Other models
    need ``classify``, which returns the logits.
    """

    def step() -> Tensor:
        model.zero_grad()
        if classify:
            loss = classify(video).float().square().sum()
        else:
            feats, losses = model.extract_feat(video[:, None])
            loss = model.cls_head(feats).square().sum()
            loss = loss + losses['loss_aux']['loss_align']
        loss.backward()
        return loss

    return step


def build_training_step(form: str,
                        recipe: str,
                        frozen: bool,
                        batch: int,
                        device: str,
                        size: int = 224,
                        blocks: int = 12) -> Callable[[], Tensor]:
    """Build one training step of ViT-B/16 on clips of 8 frames.

    Args:
        form (str): ``'token'``, ``'released'`` or ``'plain'``, a ViT without
            temporal modules, which ignores ``recipe``.
        recipe (str): One of :data:`RECIPES`.
        frozen (bool): Whether CLIP's own weights are not trained.
        batch (int): Number of clips.
        device (str): Device of the training.
        size (int): Height and width in pixels.
        blocks (int): Number of blocks.

    Returns:
        Callable: Runs forward and backward pass and returns the loss.
    """
    video = torch.randn(batch, 3, 8, size, size, device=device)
    if form == 'plain':
        model = PlainCLIP(QUICK_GELU, blocks)
    else:
        straightforward, recognizer, backbone = RECIPES[recipe]
        model = build_ila(
            form,
            blocks=blocks,
            recognizer=recognizer,
            freeze_image=frozen,
            **backbone)
        if straightforward:
            make_straightforward(model)
    model.to(device).train()
    return make_step(model, video, model if form == 'plain' else None)
