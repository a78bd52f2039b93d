"""A training step, in several versions."""
from typing import Callable

import torch
from models import QUICK_GELU, PlainCLIP, build_ila, make_straightforward
from torch import Tensor

# Versions of training ILA: whether it is the straightforward one, and settings
# of recognizer and backbone.
RECIPES = {
    'straightforward': (True, {}, {}),
    'optimised': (False, {}, {}),
    'recomputed': (False, {}, dict(with_cp=True)),
    'bf16': (False, dict(bf16=True), {}),
}


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
            time that has no recipe.
        recipe (str): One of :data:`RECIPES`.
        frozen (bool): Whether CLIP's own weights are not trained.
        batch (int): Number of clips.
        device (str): Where to train.
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

    def step() -> Tensor:
        model.zero_grad()
        if form == 'plain':
            loss = model(video).square().sum()
        else:
            feats, losses = model.extract_feat(video[:, None])
            loss = model.cls_head(feats).square().sum()
            loss = loss + losses['loss_aux']['loss_align']
        loss.backward()
        return loss

    return step
