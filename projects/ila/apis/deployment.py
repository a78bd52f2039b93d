"""Export of recognizers to files that need neither this project nor MMAction2.

Such a file has the input ``clips``, uint8 RGB (B, 3, T, H, W), and the output
``logits`` (B, num_classes), for any batch size. It includes normalisation and
the text features of the class names. The metadata describe the model, as JSON
under the name ``ila``.
"""
import json
import logging
import os
import warnings
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Iterator, Tuple

import torch
from mmengine.config import Config
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.nn import functional as F

from ..models.heads import ILATextHead
from ..models.recognizers.head_inputs import as_input, head_inputs
from ..utils.clip_shape import find_clip_length, find_frame_size
from .loading import load_recognizer

# Every runtime supports it; newer ones, which add Attention, are not faster.
OPSET = 18
INT8_PRECISIONS = ('int8', 'int8-full')
ONNX_PACKAGES = ('onnx', 'onnxscript', 'onnxruntime')


class ClipClassifier(nn.Module):
    """An ``ILARecognizer`` for inference, from pixels to logits.

    Raises:
        ValueError: Its data preprocessor does more than normalise RGB.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        preprocessor = model.data_preprocessor
        if not hasattr(preprocessor, 'mean') or preprocessor.to_rgb:
            raise ValueError('only the normalisation of RGB can be exported; '
                             'give `model.data_preprocessor` mean and std, '
                             'and no to_rgb')
        if preprocessor.mean.dim() != 4:
            raise ValueError('clips need `model.data_preprocessor.format_shape'
                             "='NCTHW'`")
        self.register_buffer('mean', preprocessor.mean)
        self.register_buffer('std', preprocessor.std)
        self.backbone = model.backbone
        self.neck = model.neck if model.with_neck else None
        self.cls_head = model.cls_head

    def forward(self, clips: Tensor) -> Tensor:
        """Classify uint8 RGB clips, ``(B, 3, T, H, W)``.

        Returns:
            Tensor: Logits, ``(B, num_classes)``.
        """
        features = self.backbone(
            (clips - self.mean) / self.std,
            with_loss=False,
            return_features=True)
        feats = head_inputs(features, self.neck, self.backbone.out_type)
        return self.cls_head(as_input(feats))


def check_statistics(model_cfg: dict) -> None:
    """Check that a config does not predict with the statistics of a batch.

    Raises:
        ValueError: It does.
    """
    if (model_cfg.get('test_cfg') or {}).get('batch_statistics'):
        raise ValueError(
            'statistics of a batch cannot be exported; set '
            '`model.test_cfg.batch_statistics` to False, and expect other '
            'predictions')


def load_classifier(cfg: Config, path: str) -> Tuple[ClipClassifier, dict]:
    """Build a config's model with a checkpoint's weights, for the export.

    Compilation and bfloat16 are turned off.

    Returns:
        tuple[ClipClassifier, dict]: The model and its metadata.

    Raises:
        ValueError: The model is not an ILA model or cannot be exported, the
            checkpoint belongs to another model, or the config does not state
            the number of frames of a clip, or has frames that are not square.
    """
    settings = cfg.get('model')
    check_statistics(settings or {})
    model = load_recognizer(
        settings, path, deploy=True, compile=False, bf16=False)
    model.requires_grad_(False)
    height, width = find_frame_size(cfg, model.backbone.image.img_size)
    if height != width:
        raise ValueError(f'{cfg.filename}: exported models take square '
                         f'frames, got {width} x {height}; fix '
                         '`test_dataloader.dataset.pipeline`')
    if isinstance(model.cls_head, ILATextHead):
        model.cls_head.text_features  # Computed and kept.
        model.cls_head.text_encoder = None
    classifier = ClipClassifier(model)
    meta = dict(
        source=os.path.basename(path),
        config=os.path.basename(cfg.filename),
        temporal=model.backbone.temporal_type,
        arch=model.backbone.image.arch_settings,
        num_frames=find_clip_length(cfg),
        img_size=height,
        channels='RGB',
        mean=settings.data_preprocessor.get('mean'),
        std=settings.data_preprocessor.get('std'),
        num_classes=model.cls_head.num_classes,
        class_names=getattr(model.cls_head, 'class_names', None),
        templates=getattr(model.cls_head, 'templates', None),
        precision='float32')
    with torch.no_grad():  # Errors are clearer here than during tracing.
        classifier(random_clips(1, meta))
    return classifier, meta


def random_clips(batch: int, meta: dict) -> Tensor:
    """Draw uint8 clips for the described model, the same ones in each call."""
    size = meta['img_size']
    return torch.randint(
        256, (batch, 3, meta['num_frames'], size, size),
        generator=torch.Generator().manual_seed(0),
        dtype=torch.uint8)


def varied_clips(meta: dict) -> Tensor:
    """Make four uint8 clips, ``(4, 3, T, H, W)``: noise, a smooth image that
    moves, the same image without motion, and black."""
    noise = random_clips(1, meta)
    size = meta['img_size']
    picture = F.interpolate(
        noise[:, :, 0, :4, :4].float(), (size, size), mode='bilinear').byte()
    frames = range(meta['num_frames'])
    moving = [picture.roll(frame * size // 8, dims=-1) for frame in frames]
    return torch.cat([
        noise,
        torch.stack(moving, dim=2),
        torch.stack([picture for _ in frames], dim=2),
        torch.zeros_like(noise)
    ])


def trace(classifier: ClipClassifier, meta: dict) -> ExportedProgram:
    """Turn a model into a program for batches of any size."""
    # Strict, since ``len`` of a tensor would fix the batch otherwise.
    program = torch.export.export(
        classifier, (random_clips(2, meta), ),
        dynamic_shapes=({
            0: Dim('batch')
        }, ),
        strict=True)
    for node in program.graph.nodes:
        # It contains file names of this machine.
        node.meta.pop('stack_trace', None)
    return program


@contextmanager
def _quietly() -> Iterator[None]:
    """Suppress the exporters' own warnings."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        logging.disable(logging.NOTSET)


@_quietly()
def write_program(program: ExportedProgram, meta: dict, path: str) -> None:
    """Write a program for ``torch.export.load``, without sample inputs."""
    # Sample inputs would be pickled, and are not needed.
    program._example_inputs = None
    with open(path, 'wb') as file:
        torch.export.save(
            program, file, extra_files=dict(ila=json.dumps(meta)))


def check_packages(*names: str) -> None:
    """Raise a ValueError if packages are missing that ONNX files need."""
    missing = ' '.join(name for name in names if find_spec(name) is None)
    if missing:
        raise ValueError(f'ONNX files need {missing}; run: '
                         f'pip install {missing}')


@_quietly()
def write_onnx(program: ExportedProgram, meta: dict, path: str) -> None:
    """Write an ONNX file.

    With ``precision='int8'`` in the metadata, linear layers are quantised:
    weights to 7 bits, and inputs dynamically to 8 bits. Sums then fit into the
    16 bits that processors without VNNI use. ``'int8-full'`` uses 8 bits for
    the weights, so that sums saturate on processors without VNNI.

    Raises:
        ValueError: The model is too large for a single file.
    """
    import onnx
    size = sum(value.nbytes for value in program.state_dict.values())
    if size >= onnx.checker.MAXIMUM_PROTOBUF:
        raise ValueError(f'the weights take {size / 2**30:.1f} GiB, more than '
                         'an ONNX file holds; end its name with .pt2')
    model = torch.onnx.export(
        program,
        input_names=['clips'],
        output_names=['logits'],
        dynamic_shapes=({
            0: 'batch'
        }, ),
        opset_version=OPSET,
        dynamo=True,
        verbose=False).model_proto
    onnx.helper.set_model_props(model, dict(ila=json.dumps(meta)))
    if meta['precision'] not in INT8_PRECISIONS:
        onnx.save_model(model, path)
        return
    from onnxruntime.quantization import quantize_dynamic

    # Convolutions are faster and more accurate without quantisation.
    quantize_dynamic(
        model,
        path,
        op_types_to_quantize=['MatMul', 'Gemm'],
        per_channel=True,
        reduce_range=meta['precision'] == 'int8')
