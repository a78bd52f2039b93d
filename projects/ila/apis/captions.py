"""Videos with their predictions drawn on them."""
import os
from itertools import count
from pathlib import Path
from typing import Iterable, Iterator, List, Sequence, Tuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..datasets.video_writer import write_video
from ..utils import replacing

# Number of classes that are drawn on a frame.
NUM_CLASSES = 3


def render_text(text: str, size: Tuple[int, int]) -> np.ndarray:
    """Draw white text on a shaded box, at the top left of a clear image.

    Args:
        text (str): One or more lines.
        size (tuple[int, int]): Height and width in pixels.

    Returns:
        np.ndarray: ``(height, width, 4)``, uint8, RGB and opacity.
    """
    height, width = size
    figure = Figure(figsize=(width / 72, height / 72), dpi=72)
    figure.patch.set_alpha(0)
    margin = max(height / 40, 2)
    figure.text(
        margin / width,
        1 - margin / height,
        text,
        color='white',
        size=max(height / 20, 6),
        va='top',
        parse_math=False,
        bbox=dict(facecolor='black', alpha=0.5, linewidth=0, pad=margin / 2))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:height, :width]


def caption(frames: Iterable[np.ndarray], parts: List[dict],
            fps: float) -> Iterator[np.ndarray]:
    """Draw on each frame the prediction for its time.

    Args:
        frames (Iterable[np.ndarray]): ``(H, W, 3)``, uint8, RGB.
        parts (list[dict]): ``topk`` of the whole video, or ``topk`` and
            ``start``, in seconds, of its windows. If windows overlap, the
            one that started last is shown.
        fps (float): Frames per second.
    """
    shown, opacity, text = None, None, None
    for number, frame in enumerate(frames):
        begun = [x for x in parts if x.get('start', 0) <= number / fps + 1e-3]
        part = begun[-1] if begun else parts[0]
        if part is not shown:
            shown = part
            lines = [
                f"{best['score']:.1%}  {best['name']}"
                for best in part['topk'][:NUM_CLASSES]
            ]
            picture = render_text('\n'.join(lines), frame.shape[:2])
            opacity = picture[..., 3:] / np.float32(255)
            text = picture[..., :3] * opacity
        yield (frame * (1 - opacity) + text).round().astype(np.uint8)


def name_outputs(folder: str, names: Sequence[str]) -> List[Path]:
    """Choose the name of an output file in a folder for each video.

    All names differ from each other and from the videos.
    """
    taken = {os.path.realpath(name) for name in names}
    paths = []
    for name in names:
        stem = Path(name).stem
        for number in count(1):
            path = Path(folder, f"{stem}{f'_{number}' * (number > 1)}.mp4")
            if os.path.realpath(path) not in taken:
                break
        taken.add(os.path.realpath(path))
        paths.append(path)
    return paths


def write_captioned(path: Path, frames: Iterable[np.ndarray], prediction: dict,
                    fps: float) -> None:
    """Write a video with its predicted classes drawn on it.

    Args:
        path (Path): The video to write, ``.mp4``.
        frames (Iterable[np.ndarray]): See :func:`caption`.
        prediction (dict): Prediction of ``ILAInferencer`` for the video.
        fps (float): Frames per second.
    """
    frames = caption(frames, prediction.get('timeline', [prediction]), fps)
    with replacing(str(path)) as partial:
        write_video(partial, frames, fps, format='mp4')
