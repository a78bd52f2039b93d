from contextlib import nullcontext
from pathlib import Path
from typing import Dict, Iterator

import numpy as np
import torch
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from torch import Tensor, nn

from ..apis.clip_reader import ClipReader
from ..apis.video_inputs import VideoInput
from ..datasets.video_writer import write_video
from ..models.heads import ILAHead
from .alignment import draw_alignment, draw_pairs
from .attention import has_token_attention, record_token_attention
from .overlay import draw_overlay
from .similarity import record_similarities
from .style import DrawingStyle


def load_views(dataloader: dict, video: str) -> dict:
    """Load a video with the pipeline of a config's data loader.

    Returns:
        dict: Output of the pipeline, with ``inputs`` ``(views, 3, T, H, W)``,
        uint8.

    Raises:
        ValueError: The video cannot be loaded.
    """
    try:
        reader = ClipReader(Config(dict(test_dataloader=dataloader)))
        return next(reader.read(VideoInput(str(video)), None, None))
    except Exception as error:  # Its type depends on what is broken.
        reason = str(error).strip().split('\n')[0]
        raise ValueError(f"cannot load video '{video}': "
                         f'{type(error).__name__}: {reason}') from None


def check_alignment(model: nn.Module) -> None:
    """Raise a ValueError if an ``ILARecognizer`` has no alignment."""
    if not model.backbone.alignments:
        raise ValueError(
            f'the temporal module {model.backbone.temporal_type} has no '
            'interactive points that could be drawn; take a model with '
            '`TokenAlignment` or `ReleasedAlignment`')


@torch.no_grad()
def run_model(model: nn.Module, sample: dict) -> Dict[str, Tensor]:
    """Run a model, which must not be compiled, and record its alignment.

    Returns:
        dict[str, Tensor]: ``scores`` (classes,); ``points``
        (layers, T - 1, 2, [K,] 2); ``similarities`` (layers, T - 1) and, with
        ``TokenAlignment``, ``received`` and ``paid`` as in ``TokenAttention``,
        but for all blocks with alignment, (layers, T, ...).
    """
    inputs = model.data_preprocessor(pseudo_collate([sample]))['inputs']
    backbone = model.backbone
    has_token = has_token_attention(backbone)
    recorder = record_token_attention if has_token else nullcontext
    with record_similarities(backbone) as cosines, \
            recorder(backbone) as attentions:
        outputs = model(inputs)
    found = dict(
        # Heads of MMAction2 do not have this method.
        scores=ILAHead.logits_to_scores(model.cls_head, outputs['logits'][0]),
        points=outputs['points'][:, 0].unflatten(-1, (2, -1, 2)).squeeze(3),
        similarities=torch.cat(cosines))
    if has_token:
        received, paid = zip(*attentions)
        found.update(received=torch.stack(received), paid=torch.stack(paid))
    return {name: value.float().cpu() for name, value in found.items()}


def frames_of(sample: dict) -> np.ndarray:
    """Get the frames ``(T, H, W, 3)`` of the first view of a sample."""
    return sample['inputs'][0].permute(1, 2, 3, 0).numpy()


def save_figure(path: Path, figure: Figure) -> Path:
    """Save a figure as a picture, and return its path."""
    figure.savefig(path, dpi=120)
    return path


def write_alignment(folder: Path,
                    sample: dict,
                    found: Dict[str, Tensor],
                    style: DrawingStyle,
                    fps: int = 2) -> Iterator[Path]:
    """Write the drawings of points and masks.

    Args:
        folder (Path): Folder of the drawings.
        sample (dict): From :func:`load_views`, with a single view.
        found (dict[str, Tensor]): From :func:`run_model`.
        style (DrawingStyle): For instance ``DrawingStyle.of(model)``.
        fps (int): Frames per second of the overlay.

    Yields:
        Path: ``frames.png``, ``pairs.png`` and ``overlay.mp4``, once written.
    """
    frames = frames_of(sample)
    points = found['points'].numpy()
    similarities = found['similarities'].numpy()
    yield save_figure(folder / 'frames.png',
                      draw_alignment(frames, points, style))
    yield save_figure(folder / 'pairs.png',
                      draw_pairs(frames, points, similarities, style))
    overlay = folder / 'overlay.mp4'
    write_video(overlay, draw_overlay(frames, points, style), fps)
    yield overlay
