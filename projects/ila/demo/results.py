"""Compute the results that the page shows."""
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator, Tuple

import mmcv
import numpy as np
from torch import Tensor

from ..apis import ILAInferencer
from ..visualization import (DrawingStyle, draw_frame, enlarge, frames_of,
                             load_views, run_model, write_alignment)

_WIDTH = 672  # of sharp pictures, in pixels


def describe_model(inferencer: ILAInferencer) -> str:
    """Describe the model, temporal module and weights in Markdown."""
    backbone = inferencer.model.backbone
    aligned = len(backbone.temporal_layers)
    temporal = 'no temporal module'
    if aligned:
        temporal = (f'`{backbone.temporal_type}` in {aligned} of '
                    f'{backbone.num_layers} blocks')
    weights = inferencer.weights
    if Path(weights).is_file():
        weights = Path(weights).name
    classes = f'{len(inferencer.classes)} classes'
    if inferencer.open_vocabulary:
        classes += ' or your own'
    return (f'Model `{Path(inferencer.cfg.filename).stem}` · {temporal} · '
            f'{classes} · weights `{weights}`')


def classify(inferencer: ILAInferencer, path: str) -> Dict[str, float]:
    """Get the five most probable classes of a video, by their names.

    Raises:
        ValueError: The video cannot be classified.
    """
    result = inferencer(path)
    for error in result['errors']:
        raise ValueError(error['error'])
    topk = result['predictions'][0]['topk']
    return {best['name']: best['score'] for best in topk}


@dataclass
class View:
    """A model's alignment in one view of a video.

    Attributes:
        folder (Path): Folder for its pictures.
        sample (dict): From :func:`load_views`.
        found (dict[str, Tensor]): From :func:`run_model`.
        style (DrawingStyle): Style for this model.
    """
    folder: Path
    sample: dict
    found: Dict[str, Tensor]
    style: DrawingStyle

    @classmethod
    def of(cls, inferencer: ILAInferencer, path: str, folder: str) -> 'View':
        """Run the model on the view of the validation pipeline.

        Without this pipeline, the first view of the test pipeline is used.

        Raises:
            ValueError: The video cannot be loaded.
        """
        cfg, model = inferencer.cfg, inferencer.model
        sample = load_views(
            cfg.get('val_dataloader') or cfg.test_dataloader, path)
        sample['inputs'] = sample['inputs'][:1]
        title = Path(path).name.encode(errors='backslashreplace').decode()
        return cls(
            Path(folder), sample, run_model(model, sample),
            DrawingStyle.of(model, title=title))

    @property
    def frames(self) -> np.ndarray:
        return frames_of(self.sample)

    def write_frame(self, t: int, layer: int) -> Tuple[str, str]:
        """Write a frame, and the frame with a block's points and mask.

        Existing pictures are kept.
        """
        frame = self.folder / f'frame_{t}.png'
        overlay = self.folder / f'frame_{t}_block_{layer}.png'
        if not frame.exists():
            mmcv.imwrite(
                mmcv.rgb2bgr(enlarge(self.frames[t], _WIDTH)), str(frame))
        if not overlay.exists():
            picture = draw_frame(self.frames, self.found['points'].numpy(),
                                 self.style, t, layer, _WIDTH)
            mmcv.imwrite(mmcv.rgb2bgr(picture), str(overlay))
        return str(frame), str(overlay)

    def write_drawings(self) -> Iterator[str]:
        """Write all frames, the pairs of frames and a video of the blocks."""
        yield from map(
            str,
            write_alignment(self.folder, self.sample, self.found, self.style))
