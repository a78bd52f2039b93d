"""All pictures of a model's alignment in one view of a video."""
from dataclasses import replace
from pathlib import Path
from typing import Dict, Iterator, List, Optional

from mmengine.config import Config
from torch import Tensor, nn

from ..apis import load_recognizer
from ..models.text import load_class_names
from .attention import draw_attention
from .style import DrawingStyle
from .view import (check_alignment, frames_of, load_views, save_figure,
                   write_alignment)

ATTENTIONS = dict(
    received='attention of patches and class token to the mutual-information '
    'token',
    paid='attention of the mutual-information token to patches, class token '
    'and itself, which has no effect')


def load_model(cfg: Config, checkpoint: str, device: str) -> nn.Module:
    """Build a config's model with all of its weights.

    Raises:
        ValueError: The checkpoint is of another model, or the model has no
            alignment.
    """
    # Values within a compiled network cannot be recorded.
    model = load_recognizer(cfg.model, checkpoint, device, compile=False)
    check_alignment(model)
    return model


def load_view(cfg: Config, video: str, view: Optional[int] = None) -> dict:
    """Load one view of a video.

    Args:
        cfg (Config): Config with the pipelines.
        video (str): Path of the video.
        view (int, optional): Index of a view of the test pipeline. Defaults
            to the single view of the validation pipeline.

    Returns:
        dict: Output of the pipeline, with ``inputs`` ``(1, 3, T, H, W)``,
        uint8.

    Raises:
        ValueError: The video cannot be loaded, or there is no such view.
    """
    split = 'val' if view is None else 'test'
    if not cfg.get(f'{split}_dataloader'):
        raise ValueError(f'the config has no `{split}_dataloader`, whose '
                         'pipeline makes the view; add it, or choose another '
                         'view with --view')
    sample = load_views(cfg[f'{split}_dataloader'], video)
    views = len(sample['inputs'])
    view = view or 0
    if not 0 <= view < views:
        raise ValueError(f'--view {view}: the {split} pipeline makes {views} '
                         f'views; choose one of 0 to {views - 1}')
    sample['inputs'] = sample['inputs'][view:view + 1]
    return sample


def describe(head: nn.Module,
             scores: Tensor,
             class_names: Optional[str] = None) -> str:
    """Name the class with the highest score.

    Args:
        head (nn.Module): The recognizer's head.
        scores (Tensor): ``(classes,)``.
        class_names (str, optional): See :func:`load_class_names`. Defaults to
            the names of the head, if it has any.

    Raises:
        ValueError: The number of names is not the number of classes.
    """
    label = scores.argmax().item()
    names = getattr(head, 'class_names', None)
    if class_names is not None:
        names = load_class_names(class_names)
    if names is None:
        return f'class {label}, {scores[label]:.1%}'
    if len(names) != len(scores):
        raise ValueError(f'--classes {class_names}: {len(names)} names, '
                         f'but the model has {len(scores)} classes')
    return f'{names[label]}, {scores[label]:.1%}'


def check_layers(layers: Optional[List[int]], backbone: nn.Module) -> None:
    """Refuse blocks that do not exist or have no alignment."""
    number, aligned = backbone.num_layers, backbone.temporal_layers
    for layer in layers or []:
        if not 0 <= layer < number:
            raise ValueError(f'--layers {layer}: the model has {number} '
                             f'blocks; choose from 0 to {number - 1}')
        if layer not in aligned:
            raise ValueError(f'--layers {layer}: that block aligns nothing; '
                             f'choose from {", ".join(map(str, aligned))}')


def write_pictures(folder: Path,
                   sample: dict,
                   found: Dict[str, Tensor],
                   model: nn.Module,
                   title: str,
                   layers: Optional[List[int]] = None,
                   fps: int = 2) -> Iterator[str]:
    """Write all pictures of a view.

    Args:
        folder (Path): Folder of the pictures.
        sample (dict): From :func:`load_view`.
        found (dict[str, Tensor]): From :func:`.run_model`.
        model (nn.Module): The ``ILARecognizer``.
        title (str): Title above the pictures.
        layers (list[int], optional): Blocks to draw. Defaults to all.
        fps (int): Frames per second of the overlay. Defaults to 2.

    Yields:
        str: The path of each picture, or why a picture was not made.
    """
    style = DrawingStyle.of(model, title=title, layers=layers)
    yield from map(str, write_alignment(folder, sample, found, style, fps))
    if 'received' not in found:
        yield ('no picture of attention: the temporal module '
               f'{model.backbone.temporal_type} has no mutual-information '
               'token, or the images no class token')
        return
    for name, meaning in ATTENTIONS.items():
        figure = draw_attention(
            frames_of(sample), found[name].numpy(),
            replace(style, title=f'{title}\n{meaning}'))
        yield str(save_figure(folder / f'attention_{name}.png', figure))
