"""ILA's backbone with heads and recognizers of MMAction2."""
import pytest
import torch
import torch.nn.functional as F
from image_models import RELEASED, TOKEN, build, with_images
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope
from torch import nn

from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from mmaction.utils import GradCAM

CLIP = dict(
    type='ILAVisionTransformer',
    arch=dict(
        embed_dims=32,
        num_layers=2,
        num_heads=2,
        feedforward_channels=64,
        patch_size=8,
        out_channels=16),
    img_size=32)
HEADS = dict(
    cls_token=dict(type='TimeSformerHead', in_channels=16),
    featmap=dict(type='I3DHead', in_channels=32, dropout_ratio=0.))
with_heads = pytest.mark.parametrize('out_type', HEADS)


def build_recognizer(kind, out_type, temporal=TOKEN, **kwargs):
    torch.manual_seed(0)
    head = dict(HEADS[out_type], num_classes=6, average_clips='prob')
    backbone = dict(
        CLIP, out_type=out_type, temporal=temporal and dict(type=temporal))
    model = MODELS.build(
        dict(
            type=kind,
            backbone=backbone,
            cls_head=head,
            data_preprocessor=dict(
                type='ActionDataPreprocessor',
                mean=[127.5],
                std=[50.],
                format_shape='NCTHW'),
            **kwargs))
    model.init_weights()
    torch.nn.init.normal_(model.cls_head.fc_cls.weight)
    return model


def build_both(out_type, **kwargs):
    """An ``ILARecognizer`` and a ``Recognizer3D`` with the same weights."""
    neck = dict(type='AlignmentLossNeck', align_loss_weight=0.5)
    models = [
        build_recognizer(
            'ILARecognizer', out_type, align_loss_weight=0.5, **kwargs),
        build_recognizer('Recognizer3D', out_type, neck=neck, **kwargs)
    ]
    models[1].load_state_dict(models[0].state_dict())
    return models


def samples(labels):
    return [ActionDataSample().set_gt_label(label) for label in labels]


@with_images
@torch.no_grad()
def test_out_types(image):
    """The mean of the frames, and the patches at their places."""
    video = torch.randn(2, 3, 3, 32, 32)
    features = build(image)(video)
    frames = build(image, out_type='cls_token')(video)
    torch.testing.assert_close(frames, features.frames.sum(1) / 3)
    model = build(image, out_type='featmap')
    featmap = model(video)
    assert featmap.shape == (2, 32, 3, 4, 4)
    image_model = model.image.model
    norm = getattr(image_model, 'ln1', None) or image_model.norm
    if not isinstance(norm, nn.LayerNorm):  # timm's norm after pooling.
        norm = image_model.fc_norm
    assert isinstance(norm, nn.LayerNorm)
    for row in range(4):
        for column in range(4):
            torch.testing.assert_close(
                featmap[:, :, :, row, column].transpose(1, 2),
                norm(features.patches[:, :, 4 * row + column]))


@with_images
def test_map_trains_all_that_is_trainable(image):
    model = build(image, out_type='featmap').train()
    features = model(torch.randn(2, 3, 3, 32, 32))
    loss = features.featmap.square().sum() + features.align_loss.sum()
    loss.backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name


@pytest.mark.parametrize('temporal', [TOKEN, RELEASED, None])
@with_heads
def test_recognizers_agree(out_type, temporal):
    """MMAction2's with the neck, and ILA's with MMAction2's head."""
    models = build_both(out_type, temporal=temporal)
    inputs = torch.randn(2, 3, 3, 4, 32, 32)
    results, gradients = [], []
    for model in models:
        with torch.no_grad():
            predicted = model.eval()(inputs, samples([1, 3]), mode='predict')
        results.append([sample.pred_score for sample in predicted])
        torch.manual_seed(0)
        losses = model.train()(inputs[:, :1], samples([1, 3]), mode='loss')
        assert ('loss_align' in losses) == (temporal is not None)
        model.parse_losses(losses)[0].backward()
        results[-1] += [losses[name] for name in sorted(losses)]
        gradients.append({
            name: value.grad
            for name, value in model.named_parameters()
        })
        for name, value in model.named_parameters():
            assert (value.grad is not None) == value.requires_grad, name
    torch.testing.assert_close(*results)
    torch.testing.assert_close(*gradients)


@with_heads
@torch.no_grad()
def test_predictions_are_of_the_mean_feature(out_type):
    model, other = build_both(out_type)
    inputs = torch.randn(2, 3, 3, 4, 32, 32)
    features = model.eval().backbone(
        inputs.flatten(0, 1), return_features=True)
    video = features.frames.mean(1)
    if out_type == 'featmap':
        video = model.backbone.image.model.ln1(features.patches).mean((1, 2))
    logits = F.linear(video, model.cls_head.fc_cls.weight)
    expected = logits.softmax(-1).unflatten(0, (2, 3)).mean(1)
    for sample, scores in zip(
            model(inputs, samples([0, 1]), mode='predict'), expected):
        torch.testing.assert_close(sample.pred_score, scores)
    outputs = model(inputs)
    torch.testing.assert_close(outputs['logits'], logits)
    torch.testing.assert_close(outputs['video'], video)
    embeddings = F.normalize(video, dim=-1).unflatten(0, (2, 3)).mean(1)
    torch.testing.assert_close(
        model.encode_video(inputs), F.normalize(embeddings, dim=-1))
    other.eval().test_cfg = dict(max_testing_views=2)
    sample, = other(inputs[:1], samples([0]), mode='predict')
    torch.testing.assert_close(sample.pred_score, expected[0])


@with_heads
def test_alignment_loss_is_not_lost(out_type):
    model = build_recognizer('Recognizer3D', out_type).train()
    inputs = torch.randn(2, 1, 3, 4, 32, 32)
    with pytest.raises(ValueError, match="'AlignmentLossNeck'.*ILARecogniz"):
        model(inputs, samples([1, 3]), mode='loss')
    model.eval()(inputs, samples([1, 3]), mode='predict')


def test_needs_no_default_scope(monkeypatch):
    """As in a program of one's own, where no runner sets one."""
    monkeypatch.setattr(DefaultScope, '_instance_dict', dict())
    model = build_recognizer('ILARecognizer', 'cls_token')
    assert type(model.data_preprocessor).__name__ == 'ActionDataPreprocessor'


@pytest.mark.parametrize('kwargs, message', [
    (dict(out_type='map'), r"one of .*'featmap'.*`model.backbone.out_type`"),
    (dict(), "I3DHead takes one tensor; set `model.backbone.out_type`"),
    (dict(out_type='cls_token'), 'gives 16 channels.*`model.cls_head.in_ch'),
    (dict(
        out_type='featmap',
        neck=dict(type='MultiframeIntegrationTransformer', embed_dims=16)),
     'relates the frames.*set `model.neck` to None'),
    (dict(out_type='featmap', neck=dict(type='AlignmentLossNeck')),
     'adds up the alignment losses itself.*set `model.neck` to None'),
    (dict(
        out_type='featmap',
        cls_head=dict(type='ILALinearHead', num_classes=5, in_channels=32)),
     'ILALinearHead takes all features; remove `model.backbone.out_type`'),
    (dict(out_type='featmap', test_cfg=dict(max_testing_views=0)),
     'max_testing_views` is .* set it to 1 or more, not 0'),
])
def test_parts_that_do_not_fit(kwargs, message):
    head = dict(HEADS['featmap'], num_classes=6)
    backbone = dict(CLIP, out_type=kwargs.pop('out_type', 'raw'))
    with pytest.raises(ValueError, match=message):
        MODELS.build(
            dict(
                type='ILARecognizer',
                backbone=backbone,
                **{
                    'cls_head': head,
                    **kwargs
                }))


@pytest.mark.parametrize('kind', ['ILARecognizer', 'Recognizer3D'])
@with_heads
def test_grad_cam(out_type, kind):
    """Against the gradient of what goes into the last block."""
    model = build_recognizer(kind, out_type)
    model.backbone.temporal.pop('1')
    model.backbone.temporal_layers = (0, )
    block = model.backbone.image.blocks[1]
    tokens = []
    handle = block.register_forward_pre_hook(
        lambda module, args: tokens.append(args[0]))
    frames = torch.randint(256, (2, 3, 4, 32, 32), dtype=torch.uint8)
    data = pseudo_collate(
        [dict(inputs=frames, data_samples=ActionDataSample())])
    model.eval().cls_head.average_clips = 'score'
    scores, = (x.pred_score for x in model.test_step(data))
    gradient, = torch.autograd.grad(scores.max(), tokens[0])
    handle.remove()
    weights = gradient[:, 1:].mean(1, keepdim=True)  # Of each frame.
    expected = (weights * tokens[0][:, 1:]).sum(-1).relu()
    expected = F.interpolate(
        expected.reshape(2, 1, 4, 4, 4), (4, 32, 32), mode='trilinear')[:, 0]
    low, high = (
        value.reshape(2, 1, 1, 1)
        for value in expected.flatten(1).aminmax(dim=1))
    cam = GradCAM(model, 'backbone/last_patches')
    found, predicted = cam._calculate_localization_map(data, False)
    torch.testing.assert_close(predicted[0], scores)
    torch.testing.assert_close(found, (expected - low) / (high - low))
    if kind == 'ILARecognizer':  # Compiled, and with other settings.
        model.test_cfg = dict(max_testing_views=1)
        model.compiled = True
        model.backbone.compile(fullgraph=True)
        again, _ = cam._calculate_localization_map(data, False)
        torch.testing.assert_close(again, found)
        model.test_cfg = dict(batch_statistics=True)
        with pytest.raises(ValueError, match='Grad-CAM takes one view, got 2'):
            cam._calculate_localization_map(data, False)
