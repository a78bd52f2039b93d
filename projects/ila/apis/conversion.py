"""Conversion of checkpoints of CLIP, DINOv2 and the released ILA."""
import os
import re
from collections import Counter
from typing import Iterable, List, NamedTuple, Optional, Tuple

from mmengine.config import ConfigDict
from torch import nn

from mmaction.registry import MODELS
from ..models.heads import ILATextHead
from ..models.images import TimmImage
from ..models.temporal import ReleasedAlignment
from ..utils import explaining_builds, naming_source
from ..weights import (adopt_stem, check_weights, convert_to_ila, find_weights,
                       hash_file, hash_weights, is_clip, is_hugging_face_clip,
                       is_released, is_released_config, is_text_feature,
                       is_timm_clip, local_copy, read_checkpoint,
                       revert_released)
from ..weights.dinov2_names import convert_dinov2
from ..weights.names import StateDict
from ..weights.onnx_file import is_onnx, read_onnx
from .loading import ModelConfig, find_model_config


class ConversionReport(NamedTuple):
    """How the weights of a file were used.

    Attributes:
        matched (list[str]): Entries of the result that the file provides.
        missing (list[str]): Entries of the model that it lacks.
        left_over (list[str]): Entries of the file that were not used.
    """
    matched: List[str]
    missing: List[str]
    left_over: List[str]

    def __str__(self) -> str:
        lines = []
        for kind, names in self._asdict().items():
            lines.append(f"{kind.replace('_', ' '):9} {len(names):5}")
            lines += [f'  {line}' for line in _summarise(names)]
        return '\n'.join(lines)


def _summarise(names: Iterable[str]) -> List[str]:
    """Count names that differ only in the number of their layer."""
    counts = Counter(
        re.sub(r'(layers|blocks|resblocks|temporal)\.\d+', r'\1.*', name)
        for name in names)
    return [f'{count:5} x {name}' for name, count in counts.items()]


def _read(path: str) -> StateDict:
    return find_weights(read_checkpoint(path), path)


def _build(model_cfg: ConfigDict) -> nn.Module:
    with explaining_builds():
        return MODELS.build({**model_cfg, 'data_preprocessor': None}).eval()


def _check(model: nn.Module, weights: StateDict, path: str) -> None:
    """Refuse weights that are not exactly those of the model."""
    own = model.state_dict()
    with naming_source(path):
        check_weights(own, weights, partial=False)
        for name in own.keys() & weights.keys():
            if own[name].shape != weights[name].shape:
                raise ValueError(
                    f"the weights' '{name}' is {tuple(weights[name].shape)}, "
                    f"the model's {tuple(own[name].shape)}; take the config "
                    'of that number of frames and image size')


def _describe_file(path: str) -> dict:
    """Make metadata about the source file."""
    return dict(source=os.path.basename(path), source_sha256=hash_file(path))


def _describe(model: nn.Module, model_cfg: ConfigDict, weights: StateDict,
              path: str) -> dict:
    """Make the metadata of a converted checkpoint."""
    arch = model_cfg.backbone.get('arch', 'clip-b/16')
    return dict(
        _describe_file(path),
        temporal=model.backbone.temporal_type,
        arch=arch if isinstance(arch, str) else dict(arch),
        img_size=model.backbone.image.img_size,
        num_frames=model.neck.pos_embed.shape[1] if model.with_neck else None,
        num_classes=model.cls_head.num_classes,
        class_names=getattr(model.cls_head, 'class_names', None),
        weights_sha256=hash_weights(weights))


def clip_to_ila(model_cfg: ModelConfig,
                path: str) -> Tuple[dict, ConversionReport]:
    """Turn a file of CLIP's weights into initial weights of an ILA model.

    Position embeddings are interpolated to the model's image size.

    Args:
        model_cfg (ModelConfig): See :func:`find_model_config`.
        path (str): OpenAI's archive, or a file of open_clip, Hugging Face or
            timm.

    Returns:
        tuple[dict, ConversionReport]: A checkpoint with CLIP's part of the
        model; and the report, which lists ILA's own parts as missing.

    Raises:
        ValueError: The file is damaged, not a CLIP model, or of another size.
    """
    weights = _read(path)
    if not (is_clip(weights) or is_hugging_face_clip(weights)
            or is_timm_clip(weights)):
        raise ValueError(
            f'{path}: these are not weights of CLIP '
            f'({", ".join(list(weights)[:3])}); take a file of OpenAI, '
            'open_clip, Hugging Face or timm')
    converted = convert_to_ila(weights)
    model_cfg = find_model_config(model_cfg)
    model = _build(model_cfg)
    with naming_source(path):
        model.load_state_dict(converted, strict=False)
    own = model.state_dict()
    state_dict = {name: own[name] for name in own if name in converted}
    report = ConversionReport(
        matched=list(state_dict),
        missing=[name for name in own if name not in converted],
        left_over=[name for name in converted if name not in own])
    meta = _describe(model, model_cfg, state_dict, path)
    return dict(state_dict=state_dict, meta=dict(ila=meta)), report


def released_to_ila(model_cfg: ModelConfig,
                    path: str) -> Tuple[dict, ConversionReport]:
    """Turn a checkpoint of the released ILA into one of this project.

    The config must have ``ReleasedAlignment``. If the model has a text head,
    the checkpoint also contains the features of the class names.

    Raises:
        ValueError: The file is damaged, or does not have the model's sizes,
            number of frames, data set and temporal module.
    """
    weights = _read(path)
    if not is_released(weights):
        raise ValueError(f'{path}: these are not weights of the released ILA '
                         f'({", ".join(list(weights)[:3])})')
    model_cfg = find_model_config(model_cfg)
    model = _build(adopt_stem(model_cfg, weights))
    converted = convert_to_ila(weights, model.cls_head.num_classes)
    _check(model, converted, path)
    model.load_state_dict(converted)
    if isinstance(model.cls_head, ILATextHead):
        model.cls_head.text_features  # Compute them, so they are saved.
    state_dict = model.state_dict()
    meta = _describe(model, model_cfg, state_dict, path)
    report = ConversionReport(list(converted), [], [])
    return dict(state_dict=state_dict, meta=dict(ila=meta)), report


def ila_to_released(model_cfg: ModelConfig,
                    path: str) -> Tuple[dict, ConversionReport]:
    """Turn a checkpoint of this project into one of the released ILA.

    The config must have ``ReleasedAlignment`` and the predictor of the
    released code. The weights become the entry ``model``.

    Raises:
        ValueError: The file is damaged or of another model, or the released
            code has no such model.
    """
    weights = _read(path)
    model_cfg = adopt_stem(find_model_config(model_cfg), weights)
    model = _build(model_cfg)
    _check(model, weights, path)
    reverted = revert_released(weights)
    unknown = [name for name in reverted if name in weights]
    temporal = model_cfg.backbone.get('temporal') or {}
    predictor = temporal.get('predictor', {})
    # Both stems are released for Kinetics-400, only the dense one for SSv2.
    stems = ['dense']
    if isinstance(model.cls_head, ILATextHead):
        stems.append('separable')
    stem = predictor.get('stem', 'separable')
    if (not is_released_config(model_cfg) or unknown or stem not in stems
            or set(predictor.items()) - {('stem', stem)} -
            set(ReleasedAlignment.predictor_cfg.items())
            or len(model.backbone.alignments) < model.backbone.num_layers
            or set(temporal) - {'type', 'predictor', 'disturbance'}):
        raise ValueError(
            'the released code has models with '
            "`ReleasedAlignment` and the predictor's stem 'dense' or, "
            "with a text head, 'separable', nothing else of it changed; this "
            'one cannot run there')
    meta = _describe(model, model_cfg, reverted, path)
    report = ConversionReport(
        list(reverted), [], list(filter(is_text_feature, weights)))
    return dict(model=reverted, meta=dict(ila=meta)), report


def dinov2_to_timm(
        name: str,
        path: str,
        img_size: Optional[int] = None) -> Tuple[dict, ConversionReport]:
    """Turn a file of DINOv2's weights into one that timm loads.

    Args:
        name (str): timm's name of the model.
        path (str): A file of Hugging Face's ``Dinov2Model`` or an ONNX file,
            also of a larger model that contains DINOv2.
        img_size (int, optional): See :func:`convert_dinov2`. Defaults to the
            size of timm's weights.

    Raises:
        ValueError: The file is damaged or of another model, or timm has no
            such model.
    """
    size = dict(img_size=img_size) if img_size else dict()
    image = TimmImage(name, **size)
    with local_copy(path) as local:
        weights = read_onnx(local) if is_onnx(local) else _read(path)
    with naming_source(path):
        converted, left_over = convert_dinov2(weights, img_size)
    _check(image.model, converted, path)
    meta = dict(
        _describe_file(path),
        model=name,
        img_size=image.img_size,
        weights_sha256=hash_weights(converted))
    return (dict(state_dict=converted, meta=dict(ila=meta)),
            ConversionReport(list(converted), [], left_over))
