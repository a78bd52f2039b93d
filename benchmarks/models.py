"""Models for the comparisons."""
from argparse import ArgumentParser
from functools import partial
from importlib.util import find_spec
from typing import Callable, Dict

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks import DropPath
from mmengine.hub import get_config
from mmengine.registry import init_default_scope
from mmpretrain.models import VisionTransformer
from torch import Tensor, nn

import projects.ila  # noqa: F401
from mmaction.registry import MODELS
from projects.ila.models.alignment import ImplicitAlignment
from projects.ila.models.images import CLIPImage
from projects.ila.models.temporal import (ReleasedAlignment, TemporalChange,
                                          TokenAlignment)

init_default_scope('mmaction')

UNIFORMER = ('mmaction::recognition/uniformerv2/uniformerv2-base-p16-res224_'
             'clip_8xb32-u8_kinetics400-rgb.py')
TIMESFORMER = ('mmaction::recognition/timesformer/'
               'timesformer_divST_8xb8-8x32x1-15e_kinetics400-rgb.py')


def add_blocks_argument(parser: ArgumentParser) -> None:
    """Add ``--blocks``, for quick trials of a benchmark."""
    parser.add_argument(
        '--blocks',
        type=int,
        default=12,
        help='blocks of every model; default: %(default)s, as in ViT-B/16')


def describe_model(blocks: int) -> str:
    """Name the image model."""
    return 'ViT-B/16' + f' of {blocks} blocks' * (blocks != 12)


def build_ila(form: str,
              frames: int = 8,
              recognizer: dict = dict(),
              blocks: int = 12,
              **backbone) -> nn.Module:
    """Build ILA-B/16 with its multi-frame transformer and a linear head.

    The form is ``'token'`` or ``'released'``; ``recognizer`` and ``backbone``
    are other arguments of recognizer and backbone.
    """
    return MODELS.build(
        dict(
            type='ILARecognizer',
            backbone={
                'type': 'ILAVisionTransformer',
                'arch': {
                    **CLIPImage.arch_zoo['clip-b/16'], 'num_layers': blocks
                },
                'temporal': dict(type=FORMS[form].__base__.__name__),
                **backbone
            },
            neck=dict(
                type='MultiframeIntegrationTransformer',
                embed_dims=512,
                num_frames=frames),
            cls_head=dict(
                type='ILALinearHead', num_classes=400, in_channels=512),
            **recognizer))


QUICK_GELU = dict(type='mmpretrain.QuickGELU')
SILU = dict(type='SiLU')


class PlainCLIP(nn.Module):
    """CLIP's ViT-B/16 on every frame, averaged; no temporal modelling."""

    def __init__(self,
                 act_cfg: dict,
                 blocks: int = 12,
                 size: int = 224) -> None:
        super().__init__()
        self.backbone = VisionTransformer(
            arch=dict(
                embed_dims=768,
                num_layers=blocks,
                num_heads=12,
                feedforward_channels=3072),
            img_size=size,
            patch_size=16,
            pre_norm=True,
            norm_cfg=dict(type='LN', eps=1e-5),
            layer_cfgs=dict(act_cfg=act_cfg))
        for module in self.modules():
            if isinstance(module, DropPath):
                # `torch.compile` does not support NumPy's numbers.
                module.drop_prob = float(module.drop_prob)
        self.proj = nn.Linear(768, 512, bias=False)
        self.fc = nn.Linear(512, 400)

    def forward(self, video: Tensor) -> Tensor:
        """Classify ``(B, 3, T, H, W)``."""
        batch = len(video)
        frames, = self.backbone(video.transpose(1, 2).flatten(0, 1))
        return self.fc(self.proj(frames).view(batch, -1, 512).mean(1))


class MMAction2Model(nn.Module):
    """A recognizer of MMAction2's zoo, without its weights."""

    def __init__(self, config: str, **backbone) -> None:
        super().__init__()
        cfg = get_config(config).model
        cfg.backbone.update(pretrained=None, **backbone)
        cfg.pop('data_preprocessor')
        self.model = MODELS.build(cfg)

    def forward(self, video: Tensor) -> Tensor:
        """Classify ``(B, 3, T, H, W)``."""
        return self.model.cls_head(self.model.backbone(video))


class XCLIP(nn.Module):
    """Hugging Face's X-CLIP-B/16, up to its video features."""

    def __init__(self, frames: int, size: int, blocks: int) -> None:
        super().__init__()
        from transformers import XCLIPConfig, XCLIPModel
        self.model = XCLIPModel(
            XCLIPConfig(
                vision_config=dict(
                    patch_size=16,
                    num_frames=frames,
                    image_size=size,
                    num_hidden_layers=blocks)))

    def forward(self, video: Tensor) -> Tensor:
        """Encode ``(B, 3, T, H, W)``."""
        output = self.model.get_video_features(
            pixel_values=video.transpose(1, 2))
        # A tensor before transformers 5.
        return getattr(output, 'pooler_output', output)


def soft_masks(alignment: ImplicitAlignment, points: Tensor,
               size: tuple) -> Tensor:
    """Average the masks around ``(N, 2)`` points to ``(N, H, W)``."""
    step = 0.
    if alignment.training:
        step = alignment.disturbance * alignment.disturbance_scale
    y, x = torch.meshgrid(
        *(torch.linspace(-1, 1, side, device=points.device) for side in size),
        indexing='ij')
    masks = []
    for dy in ((-step, 0., step) if step else (0., )):
        for dx in ((-step, 0., step) if step else (0., )):
            px, py = points[:, 0, None, None] + dx, points[:, 1, None,
                                                           None] + dy
            mask_x = 1 - alignment.slope * ((x - px).abs() - alignment.radius)
            mask_y = 1 - alignment.slope * ((y - py).abs() - alignment.radius)
            masks.append(mask_x.clamp(0, 1) * mask_y.clamp(0, 1))
    return torch.stack(masks).mean(0)


def align_pairs(alignment: ImplicitAlignment, maps: Tensor) -> tuple:
    """Align ``(B, T, C, H, W)``, in a straightforward way.

    Pairs are concatenated, layouts permuted, nine masks built and both
    aligned frames of every pair kept; the loss is always computed.
    """
    predictor = alignment.predictor
    batch, frames = maps.shape[:2]
    earlier, later = (
        part.flatten(0, 1) for part in (maps[:, :-1], maps[:, 1:]))
    stem, *others = predictor.interaction
    features = stem.depthwise_conv(torch.cat([earlier, later], dim=1))
    features = stem.pointwise_conv(features)
    for layer in others:
        features = layer(features)
    x = F.max_pool2d(predictor.reduction(features), 2)
    x = F.max_pool2d(predictor.prediction(x), 2).amax((2, 3), True)
    points = predictor.limit * predictor.point(x).tanh().flatten(1)
    size = maps.shape[-2:]
    first = earlier * soft_masks(alignment, points[:, :2], size)[:, None]
    second = later * soft_masks(alignment, points[:, 2:], size)[:, None]
    loss = 1 - F.cosine_similarity(
        first.mean((2, 3)), second.mean((2, 3)), dim=-1).mean()
    pairs = torch.stack([first, second], dim=1)
    points = points.view(batch, frames - 1, 2, 2)
    return features, pairs.unflatten(0, (batch, frames - 1)), points, loss


def _to_maps(patches: Tensor) -> Tensor:
    return patches.permute(0, 1, 4, 2, 3).contiguous()


class StraightforwardToken(TokenAlignment):
    """``TokenAlignment``, in a straightforward way."""

    def forward(self, patches, class_token=None, disturb=None, with_loss=True):
        """Align as the optimised module does."""
        _, pairs, points, loss = align_pairs(self.alignment, _to_maps(patches))
        return TemporalChange(
            token=self.alignment.pairs.merge(pairs.mean((-2, -1))),
            points=points,
            loss=loss)


class StraightforwardReleased(ReleasedAlignment):
    """``ReleasedAlignment``, in a straightforward way."""

    def forward(self, patches, class_token=None, disturb=None, with_loss=True):
        """Align as the optimised module does."""
        class_token = self.message_ln(self.message_fc(class_token))
        patches = self.message_ln(self.message_fc(patches))
        merge = self.alignment.pairs.merge
        features, pairs, points, loss = align_pairs(self.alignment,
                                                    _to_maps(patches))
        aligned = merge(pairs).permute(0, 1, 3, 4, 2).contiguous()
        pairs = features.view(
            len(aligned), -1, 2, features.shape[1] // 2, *features.shape[2:])
        volume = merge(pairs).permute(0, 2, 1, 3, 4).contiguous()
        volume = F.conv3d(
            volume,
            self.temporal_conv.weight[..., None].contiguous(),
            self.temporal_conv.bias,
            padding=(1, 0, 0)).permute(0, 2, 3, 4, 1)
        temporal = self.temporal_fc(volume.contiguous())
        class_token = self.skip_fc(class_token) + self.skip_align_fc(
            class_token)
        return TemporalChange(
            class_token=class_token,
            patches=self.skip_fc(temporal) + self.skip_align_fc(aligned),
            points=points,
            loss=loss)


FORMS = dict(token=StraightforwardToken, released=StraightforwardReleased)


def make_straightforward(model: nn.Module) -> nn.Module:
    """Turn an ILA model's modules, in place, into straightforward ones."""
    kinds = {kind.__base__: kind for kind in FORMS.values()}
    for module in model.backbone.temporal.values():
        module.__class__ = kinds[type(module)]
    for block in model.backbone.image.blocks:
        block.ffn.layers[0][1] = MODELS.build(QUICK_GELU)
        for linear in (block.ffn.layers[0][0], block.ffn.layers[1]):
            linear.weight_scale = linear.bias_scale = 1.
    return model


def classify_with(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """Make a function from a video to the prediction of an ILA model."""

    def classify(video: Tensor) -> Tensor:
        feats, _ = model.extract_feat(video[:, None], test_mode=True)
        return model.cls_head(feats)

    return classify


def other_builders(frames: int = 8,
                   size: int = 224,
                   blocks: int = 12) -> Dict[str, Callable[[], nn.Module]]:
    """Get builders of other models; X-CLIP only if transformers exists."""
    chosen = [*range(blocks)][-4:]
    builders = {
        'plain CLIP ViT':
        partial(PlainCLIP, QUICK_GELU, blocks, size),
        # The effect of the same folding as in ILA's blocks.
        'plain CLIP ViT, SiLU':
        partial(PlainCLIP, SILU, blocks, size),
        'UniFormerV2 (MMAction2)':
        partial(
            MMAction2Model,
            UNIFORMER,
            clip_pretrained=False,
            t_size=frames,
            input_resolution=size,
            layers=blocks,
            return_list=chosen,
            n_layers=len(chosen)),
        'TimeSformer (MMAction2)':
        partial(
            MMAction2Model,
            TIMESFORMER,
            num_frames=frames,
            img_size=size,
            num_transformer_layers=blocks),
    }
    if find_spec('transformers'):
        builders['X-CLIP (transformers)'] = partial(XCLIP, frames, size,
                                                    blocks)
    return builders
