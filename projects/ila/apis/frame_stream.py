"""Prediction of videos without an end, in sliding windows."""
import time
from itertools import count
from typing import Any, Dict, Iterable, Iterator, List, Optional, Tuple

import cv2
import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from torch import Tensor, nn

from mmaction.structures import ActionDataSample
from ..datasets.transforms.loading import check_num_frames
from ..models.backbones.ila_features import EncodedFrames
from ..models.recognizers.frame_encoding import (can_encode_frames,
                                                 encode_frames,
                                                 predict_encoded)
from .clip_reader import ClipReader
from .predictions import check_scores
from .video_inputs import SINGLE, check_frames, is_live, list_inputs

# FFmpeg's default if a stream does not state its frame rate.
DEFAULT_FPS = 25.
# If no frame came for so many seconds, a stream has failed rather than ended;
# OpenCV gives up after 30.
STALLED = 10.


def _capture(source: str) -> Tuple[Optional[float], Iterator[np.ndarray]]:
    """Open a camera or a URL; frames end when it gives no more."""
    number = int(source) if source.isdecimal() else source
    capture = cv2.VideoCapture(number)
    if not capture.isOpened():
        raise ValueError(f"stream '{source}' cannot be opened; check that it "
                         'is there, not in use and may be read')

    def read() -> Iterator[np.ndarray]:
        try:
            while True:
                start = time.monotonic()
                found, frame = capture.read()
                if not found:
                    seconds = time.monotonic() - start
                    if seconds > STALLED:
                        raise ValueError(
                            f"stream '{source}' gave no frame for "
                            f'{seconds:.0f} s; check its source and start '
                            'again')
                    return
                yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        finally:
            capture.release()

    fps = capture.get(cv2.CAP_PROP_FPS)
    return fps if 0 < fps < 1000 else None, read()


def open_stream(
        source: Any, reader: ClipReader
) -> Tuple[str, Optional[float], Iterator[np.ndarray]]:
    """Open a source of frames.

    Args:
        source (Any): The number of a camera, a stream's URL, one of the
            inputs of :func:`list_inputs`, or an iterable of frames.
        reader (ClipReader): Reads inputs that are not streams.

    Returns:
        tuple: Name of the source; frames per second, None if unknown; frames.

    Raises:
        OSError: A file cannot be read.
        ValueError: The source cannot be opened.
    """
    if is_live(source):
        return str(source), *_capture(str(source))
    if isinstance(source, Iterable) and not isinstance(source,
                                                       (*SINGLE, list, tuple)):
        return 'frames', None, iter(source)
    videos = list_inputs(source)
    if len(videos) != 1:
        raise ValueError(f'{len(videos)} videos are not one stream; give one')
    return videos[0].name, *reader.read_all(videos[0])


def slide(frames: Iterable[np.ndarray], length: int,
          stride: float) -> Iterator[Tuple[int, int, Dict[int, np.ndarray]]]:
    """Yield the windows of :func:`split_windows` as soon as they are complete.

    Args:
        frames (Iterable[np.ndarray]): ``(H, W, 3)``, uint8, RGB.
        length (int): Frames of a window.
        stride (float): Frames from one window to the next.

    Yields:
        tuple[int, int, dict]: Index of the first frame, index after the last
        frame, and the last ``length`` frames by their index.

    Raises:
        ValueError: A frame has another size or layout, or there are fewer
            than 2 frames.
    """
    kept: Dict[int, np.ndarray] = {}
    starts = (round(number * stride) for number in count())
    start, end = next(starts), 0
    total, shape = 0, None
    for total, frame in enumerate(frames, 1):
        frame = check_frames(frame, '(H, W, 3)')
        shape = shape or frame.shape
        if frame.shape != shape:
            raise ValueError(f'the frames change their size from {shape[:2]} '
                             f'to {frame.shape[:2]}; start again')
        # Sources may write the next frame to the same array.
        kept[total - 1] = frame.copy()
        kept.pop(total - 1 - length, None)
        if total == start + length:
            yield start, total, kept
            start, end = next(starts), total
    check_num_frames(total)
    # A window that would reach beyond the end is moved back.
    if start < total != end:
        yield max(total - length, 0), total, kept


class WindowPredictor:
    """Predict windows that slide over a video.

    Results that depend on a single frame are kept until the windows have
    passed it: resized and cropped images, and tokens before the first block
    with a temporal module. From that block on, tokens depend on other frames
    of the window, and are computed again for each window.

    Args:
        model (nn.Module): An ``ILARecognizer``.
        reader (ClipReader): Reader with the test pipeline of the model.
    """

    def __init__(self, model: nn.Module, reader: ClipReader) -> None:
        self.model, self.reader = model, reader
        self._images: Dict[int, dict] = {}
        self._tokens: Dict[int, Tensor] = {}
        self._encoded: Optional[EncodedFrames] = None
        self._keeps_tokens = reader.keeps_frames and can_encode_frames(model)

    @torch.no_grad()
    def __call__(self, start: int, end: int, frames: Dict[int, np.ndarray],
                 fps: float) -> ActionDataSample:
        """Predict a window.

        Args:
            start (int): Index of its first frame.
            end (int): Index after its last frame.
            frames (dict[int, np.ndarray]): Its frames by index.
            fps (float): Frames per second.

        Raises:
            ValueError: The model does not accept frames of that size, or the
                scores are not finite.
        """
        clip = self.reader.sample(start, end, dict(avg_fps=fps))
        indices = clip['frame_inds'].tolist()
        for memory in (self._images, self._tokens):
            for index in [x for x in memory if x < start]:
                del memory[index]
        for index in set(indices).difference(self._images):
            self._images[index] = self.reader.prepare_frame(frames[index])
        batch = pseudo_collate(
            [self.reader.pack(clip, self._images, start / fps, end / fps)])
        if self._keeps_tokens:
            sample, = self._predict(indices, batch)
        else:
            sample, = self.model.test_step(batch)
        check_scores(sample.pred_score)
        return sample

    def _predict(self, indices: List[int],
                 batch: dict) -> List[ActionDataSample]:
        batch = self.model.data_preprocessor(batch)
        views = batch['inputs'].flatten(0, 1)
        # (crops, frames of all clips, 3, H, W)
        images = views.transpose(1, 2).reshape(-1, len(indices), 3,
                                               *views.shape[3:])
        places = {
            index: place
            for place, index in enumerate(indices) if index not in self._tokens
        }
        if places:
            new = images[:, list(places.values())]
            self._encoded = encode_frames(self.model, new.flatten(0, 1))
            tokens = self._encoded.tokens.unflatten(0, new.shape[:2])
            self._tokens.update(zip(places, tokens.unbind(1)))
        tokens = torch.stack([self._tokens[x] for x in indices], dim=1)
        encoded = self._encoded._replace(tokens=tokens.flatten(0, 1))
        return predict_encoded(self.model, views, encoded,
                               batch['data_samples'])
