from torch import nn

from ..backbones import ILABackbone
from ..heads import ILAHead, ILATextHead
from ..necks import AlignmentLossNeck, TrajectoryTransformer

TEST_SETTINGS = {'batch_statistics', 'max_testing_views'}


def check_parts(model: nn.Module) -> None:
    """Check that the parts of an ``ILARecognizer`` fit each other.

    Raises:
        ValueError: A part is of the wrong type or size.
    """
    if not isinstance(model.backbone, ILABackbone):
        raise ValueError(f'{type(model.backbone).__name__} is not an '
                         '`ILABackbone`; fix `model.backbone.type`')
    unknown = (model.test_cfg or {}).keys() - TEST_SETTINGS
    if unknown:
        raise ValueError(f'`model.test_cfg` has no {sorted(unknown)}; it '
                         f'takes {sorted(TEST_SETTINGS)}')
    views = (model.test_cfg or {}).get('max_testing_views', 1)
    if type(views) is not int or views < 1:
        raise ValueError('`model.test_cfg.max_testing_views` is the number of '
                         f'views at once; set it to 1 or more, not {views}')
    _check_out_type(model)
    head = model.cls_head
    channels = model.backbone.image.out_channels
    sizes = []
    if model.backbone.out_type == 'featmap':
        channels = model.backbone.embed_dims
    elif model.with_neck and isinstance(model.neck, TrajectoryTransformer):
        _check_points(model)
        if model.neck.in_channels is not None:
            sizes.append(
                ('neck.in_channels', model.neck.in_channels, channels))
        channels = model.neck.embed_dims
    elif model.with_neck:
        sizes.append(('neck.embed_dims', model.neck.embed_dims, channels))
    sizes.append(('cls_head.in_channels', head.in_channels, channels))
    if isinstance(head, ILATextHead) and head.prompt is not None:
        sizes.append(('cls_head.patch_channels', head.patch_channels,
                      model.backbone.embed_dims))
    for key, size, expected in sizes:
        if size != expected:
            raise ValueError(f'the backbone gives {expected} channels, but '
                             f'`model.{key}` is {size}; set it to {expected}')


def _check_out_type(model: nn.Module) -> None:
    out_type, head = model.backbone.out_type, type(model.cls_head).__name__
    if isinstance(model.cls_head, ILAHead):
        if out_type != 'raw':
            raise ValueError(f'{head} takes all features; remove '
                             '`model.backbone.out_type`')
    elif out_type == 'raw':
        raise ValueError(
            f"{head} takes one tensor; set `model.backbone.out_type` to "
            "'cls_token' for (N, C) or to 'featmap' for (N, C, T, H, W)")
    if not model.with_neck:
        return
    if isinstance(model.neck, AlignmentLossNeck):
        raise ValueError('`ILARecognizer` adds up the alignment losses itself;'
                         ' set `model.neck` to None and their weight by '
                         '`model.align_loss_weight`')
    if out_type == 'featmap':
        raise ValueError(
            f"{type(model.neck).__name__} relates the frames' features, which "
            "`model.backbone.out_type='featmap'` does not use; set "
            '`model.neck` to None')


def _check_points(model: nn.Module) -> None:
    found = sum(alignment.predictor.num_points
                for alignment in model.backbone.alignments)
    if found != model.neck.num_points:
        raise ValueError(
            f'the backbone finds {found} points in each frame, but '
            f'`model.neck.num_points` is {model.neck.num_points}; set it to '
            f'{found}' if found else
            '`TrajectoryTransformer` needs a temporal module that finds '
            'points; fix `model.backbone.temporal`')
