"""Exported files: reading them, as recognizers too, and checking them."""
import json
import os
import zipfile
from typing import Any, Callable, List, Optional, Tuple

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from torch import Tensor

from mmaction.models.heads import BaseHead
from ..models.heads import ILAHead
from ..models.text import load_class_names, load_templates
from ..utils.config_arguments import find_class, find_name
from ..weights.exported_program import UnsafeProgramError, load_program
from .deployment import (INT8_PRECISIONS, ClipClassifier, check_packages,
                         check_statistics, random_clips, varied_clips)

# Allowed difference of the logits, relative to the largest.
TOLERANCES = {'float32': 1e-4, **dict.fromkeys(INT8_PRECISIONS, 0.1)}


def _load_program(path: str) -> Tuple[Callable[[Tensor], Tensor], str]:
    with zipfile.ZipFile(path) as archive:
        if not any(name.endswith('/extra/ila') for name in archive.namelist()):
            raise ValueError('it has no metadata')
    extra_files = dict(ila='')
    program = load_program(path, extra_files)
    return program.module(), extra_files['ila']


def _names_other_files(message: Any) -> bool:
    """Whether a part of an ONNX model is in another file."""
    for field, value in message.ListFields():
        if field.name == 'external_data':
            return True
        if field.type == field.TYPE_MESSAGE:
            # A single message, or a container of several.
            parts = [value] if hasattr(value, 'ListFields') else value
            if any(map(_names_other_files, parts)):
                return True
    return False


def _load_onnx(path: str) -> Tuple[Callable[[Tensor], Tensor], str]:
    import onnx
    import onnxruntime
    with open(path, 'rb') as file:
        content = file.read()
    # Some releases of ONNX Runtime would read any file of the machine.
    if _names_other_files(onnx.load_model_from_string(content)):
        raise ValueError('it names other files, which are not read')
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # Errors only.
    session = onnxruntime.InferenceSession(
        content, options, providers=['CPUExecutionProvider'])

    def run(clips: Tensor) -> Tensor:
        logits, = session.run(['logits'], {'clips': clips.numpy()})
        return torch.from_numpy(logits)

    return run, session.get_modelmeta().custom_metadata_map['ila']


def load_exported(path: str) -> Tuple[Callable[[Tensor], Tensor], dict]:
    """Load a file of ``tools/deployment/export.py``, for the CPU.

    Args:
        path (str): ONNX file or program of ``torch.export``.

    Returns:
        tuple[Callable, dict]: A function from uint8 clips ``(B, 3, T, H, W)``
        to logits ``(B, num_classes)``, and the metadata. The function raises
        a ValueError for clips of another shape or type.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is damaged, not such a file or could run code, or
            ONNX Runtime is missing.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"exported file '{path}' does not exist; fix "
                                'its path or export the model')
    load = _load_program
    # While it is being written, its name has another extension.
    if not path.endswith('.pt2') and not zipfile.is_zipfile(path):
        check_packages('onnx', 'onnxruntime')
        load = _load_onnx
    try:
        function, text = load(path)
        meta = json.loads(text)
        shape = 3, meta['num_frames'], meta['img_size'], meta['img_size']
        if not all(
                isinstance(number, int)
                for number in (*shape, meta['num_classes'])):
            raise ValueError('its metadata are not numbers')
    except UnsafeProgramError as error:
        raise ValueError(f"exported file '{path}' {error}; take one that "
                         'tools/deployment/export.py wrote') from None
    except Exception as error:  # Its type depends on what is broken.
        reason = str(error).split('\n')[0]
        raise ValueError(
            f"exported file '{path}' cannot be read: it is truncated, "
            'damaged or not from tools/deployment/export.py; export the model '
            f'again ({reason})') from None

    @torch.no_grad()
    def run(clips: Tensor) -> Tensor:
        if clips.shape[1:] != shape or clips.dtype != torch.uint8:
            raise ValueError(
                f"exported file '{path}' takes uint8 clips of {shape}, got "
                f'{clips.dtype} of {tuple(clips.shape[1:])}; fix the '
                'pipeline or export the model for those')
        return function(clips.cpu())

    return run, meta


class _GivenLogits:
    """A head that receives logits and averages them over the views."""

    def init_weights(self) -> None:
        """Do nothing, since there are no weights."""

    def forward(self, feats: Tensor, **kwargs) -> Tensor:
        """Return the logits unchanged."""
        return feats


class ExportedILAHead(_GivenLogits, ILAHead):
    """Replaces a head of this project."""


class ExportedHead(_GivenLogits, BaseHead):
    """Replaces a head of MMAction2."""


class ExportedRecognizer(BaseModel):
    """An exported file as a recognizer.

    Args:
        run (Callable): From :func:`load_exported`.
        num_classes (int): Number of classes.
        cls_head (dict): Config of the head that was exported.
        max_views (int, optional): Largest number of views of a video that are
            computed at a time. Defaults to all.
    """

    def __init__(self,
                 run: Callable[[Tensor], Tensor],
                 num_classes: int,
                 cls_head: dict,
                 max_views: Optional[int] = None) -> None:
        super().__init__()
        self.run = run
        self.max_views = max_views
        settings = {
            key: cls_head[key]
            for key in ('average_clips', 'loss_cls', 'multi_class')
            if key in cls_head
        }
        is_own = issubclass(find_class(cls_head['type']), ILAHead)
        self.cls_head = (ExportedILAHead if is_own else ExportedHead)(
            num_classes, in_channels=0, **settings)

    def forward(self, inputs: List[Tensor], data_samples: list,
                mode: str) -> list:
        """Predict videos.

        Args:
            inputs (list[Tensor]): uint8 views of each video,
                ``(M, 3, T, H, W)``.
            data_samples (list[:obj:`ActionDataSample`]): One per video.
            mode (str): ``'predict'``.

        Returns:
            list[:obj:`ActionDataSample`]: The samples with predictions.
        """
        logits = torch.cat([
            self.run(part) for views in inputs
            for part in views.split(self.max_views or len(views))
        ])
        return self.cls_head.predict(logits, data_samples)


def check_config(cfg: Config, meta: dict) -> None:
    """Check that the model of a config predicts the same as an exported file.

    Raises:
        ValueError: The config has another normalisation, temporal module,
            number of classes, class names or templates, or it predicts with
            the statistics of a batch.
    """
    check_statistics(cfg.model)
    backbone, head = cfg.model.backbone, cfg.model.cls_head
    preprocessor = cfg.model.get('data_preprocessor') or {}
    if preprocessor.get('to_rgb'):
        raise ValueError('an exported model takes RGB; remove '
                         '`model.data_preprocessor.to_rgb`')
    given = {
        f'data_preprocessor.{key}': [*(preprocessor.get(key) or ())]
        for key in ('mean', 'std')
    }
    temporal = backbone.get('temporal', dict(type='TokenAlignment'))
    given['backbone.temporal'] = str(temporal and find_name(temporal['type']))
    names = head.get('class_names')
    if names:
        given['cls_head.templates'] = load_templates(
            head.get('templates', '{}'))
    given['cls_head.class_names'] = load_class_names(names) if names else None
    if head.get('num_classes') is not None:
        given['cls_head.num_classes'] = head.num_classes
    for name, value in given.items():
        # Files of earlier versions lack the templates.
        exported = meta.get(name.split('.')[1], value)
        if value != exported:
            raise ValueError(f'`model.{name}` differs from what was exported; '
                             'export the model again or fix it')


def check_exported(path: str, classifier: ClipClassifier) -> float:
    """Compare an exported file with the model, for two batch sizes.

    Returns:
        float: Largest difference of the logits, relative to the largest logit.

    Raises:
        ValueError: This difference exceeds the tolerance or, for a quantised
            file, is more than half of the logits' spread over the clips.
    """
    run, meta = load_exported(path)
    errors, tolerance = [], TOLERANCES[meta['precision']]
    for clips in (random_clips(1, meta), varied_clips(meta)):
        expected = classifier(clips)
        difference = (run(clips) - expected).abs().max()
        errors.append(difference / expected.abs().max())
        spread = (expected - expected.mean(0)).abs().max()
        # Logits of text heads are large, and similar for all clips.
        if (meta['precision'] in INT8_PRECISIONS and len(clips) > 1
                and difference > spread / 2):
            raise ValueError(
                "the quantised model's logits differ by "
                f'{difference / spread:.1e} of what distinguishes clips; '
                'nothing was written. Leave out --int8')
    error = torch.stack(errors).max().item()  # NaN if any of them is.
    if not error <= tolerance:
        hint = ''
        if meta['precision'] == 'int8-full':
            hint = '. 8-bit weights need a processor with VNNI; leave out ' \
                '--full-range'
        raise ValueError(
            f"the exported model's logits differ by {error:.1e} of the "
            f'largest, more than {tolerance:g}; nothing was written{hint}')
    return error
