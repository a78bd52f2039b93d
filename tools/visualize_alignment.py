"""Draw what an ILA model aligns in a video.

The pictures show one view, and the predicted class and its score are those
of this view alone.
"""
import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Dict, List, Optional

from cli import (add_config_arguments, check_file, check_outputs,
                 exit_on_bad_input, load_overridden_config)
from mmengine.config import Config
from mmengine.device import get_device
from torch import Tensor, nn

from projects.ila.apis import load_recognizer
from projects.ila.models.text import load_class_names
from projects.ila.visualization import (DrawingStyle, check_alignment,
                                        draw_attention, frames_of, load_views,
                                        run_model, save_figure,
                                        write_alignment)

ATTENTIONS = dict(
    received='attention of patches and class token to the mutual-information '
    'token',
    paid='attention of the mutual-information token to patches, class token '
    'and itself, which has no effect')


def load_model(cfg: Config, checkpoint: str, device: str) -> nn.Module:
    """Build a config's model with all of its weights.

    Raises:
        ValueError: The checkpoint is not one of this model, or the model
            aligns nothing.
    """
    # What is within a compiled network cannot be recorded.
    model = load_recognizer(cfg.model, checkpoint, device, compile=False)
    check_alignment(model)
    return model


def load_view(cfg: Config, video: str, view: Optional[int] = None) -> dict:
    """Load one view of a video.

    Args:
        cfg (Config): Config with the pipelines.
        video (str): Path of the video.
        view (int, optional): Number of a view of the test pipeline. Defaults
            to the only one of the validation pipeline.

    Returns:
        dict: What the pipeline gives, with ``inputs``
        ``(1, 3, T, H, W)``, uint8.

    Raises:
        ValueError: The video can not be loaded or has not that view.
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
            those of the head, if it has any.

    Raises:
        ValueError: The names are not as many as the classes.
    """
    label = scores.argmax().item()
    names = getattr(head, 'class_names', None)
    if class_names is not None:
        names = load_class_names(class_names)
    if names is None:
        return f'class {label}, {scores[label]:.1%}'
    if len(names) != len(scores):
        raise ValueError(f'--class-names {class_names}: {len(names)} names, '
                         f'but the model has {len(scores)} classes')
    return f'{names[label]}, {scores[label]:.1%}'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser, 'config of the ILA model')
    parser.add_argument('checkpoint', help='its weights')
    parser.add_argument('video', help='any video file')
    parser.add_argument(
        '--out-dir',
        type=Path,
        help='folder of the pictures; '
        'work_dirs/CONFIG/alignment/VIDEO by default')
    parser.add_argument(
        '--layers',
        type=int,
        nargs='+',
        help='numbers of the blocks to draw, from 0, of those that align; all '
        'of them by default')
    parser.add_argument(
        '--view',
        type=int,
        help='number of a view of the test pipeline, from 0; the view of the '
        'validation pipeline by default')
    parser.add_argument(
        '--class-names',
        help="text file with a name per line, or 'kinetics400'; those of the "
        'model by default')
    parser.add_argument(
        '--fps',
        type=int,
        default=2,
        help='frames per second of the overlay; default: %(default)s')
    parser.add_argument(
        '--device',
        default=get_device(),
        help='such as cpu or cuda:1; default: %(default)s')
    args = parser.parse_args()
    if args.fps < 1:
        parser.error('--fps must be 1 or more')
    return args


def check_layers(layers: Optional[List[int]], backbone: nn.Module) -> None:
    """Refuse blocks that a model does not have or that align nothing."""
    number, aligned = backbone.num_layers, backbone.temporal_layers
    for layer in layers or []:
        if not 0 <= layer < number:
            raise ValueError(f'--layers {layer}: the model has {number} '
                             f'blocks; choose from 0 to {number - 1}')
        if layer not in aligned:
            raise ValueError(f'--layers {layer}: that block aligns nothing; '
                             f'choose from {", ".join(map(str, aligned))}')


def draw(sample: dict, found: Dict[str, Tensor], model: nn.Module, title: str,
         args: argparse.Namespace) -> None:
    """Write all pictures and print their names.

    Args:
        sample (dict): From :func:`load_view`.
        found (dict[str, Tensor]): From :func:`run_model`.
        model (nn.Module): The ``ILARecognizer``.
        title (str): What stands above the pictures.
        args (Namespace): The command line.
    """
    style = DrawingStyle.of(model, title=title, layers=args.layers)
    for path in write_alignment(args.out_dir, sample, found, style, args.fps):
        print(path)
    if 'received' not in found:
        print('no picture of attention: the temporal module '
              f'{model.backbone.temporal_type} has no mutual-information '
              'token, or the images no class token')
        return
    for name, meaning in ATTENTIONS.items():
        figure = draw_attention(
            frames_of(sample), found[name].numpy(),
            replace(style, title=f'{title}\n{meaning}'))
        print(save_figure(args.out_dir / f'attention_{name}.png', figure))


def main() -> None:
    args = parse_args()
    cfg = load_overridden_config(args)
    check_file(args.checkpoint, 'Checkpoint')
    check_file(args.video, 'Video')
    video = Path(args.video)
    if args.out_dir is None:
        args.out_dir = Path('work_dirs',
                            Path(args.config).stem, 'alignment', video.stem)
    check_outputs(folder=args.out_dir)
    with exit_on_bad_input():
        sample = load_view(cfg, args.video, args.view)
        model = load_model(cfg, args.checkpoint, args.device)
        check_layers(args.layers, model.backbone)
        found = run_model(model, sample)
        prediction = describe(model.cls_head, found['scores'],
                              args.class_names)

    # Neither terminals nor pictures take a name that is not UTF-8.
    sys.stdout.reconfigure(errors='backslashreplace')
    name = video.name.encode(errors='backslashreplace').decode()
    title = f'{name}: {prediction}'
    if args.view is not None:
        title += f' (view {args.view})'
    print(title)
    try:
        draw(sample, found, model, title, args)
    except OSError as error:
        sys.exit(f'cannot write pictures to {args.out_dir}: {error}. Please '
                 'choose another --out-dir')


if __name__ == '__main__':
    main()
