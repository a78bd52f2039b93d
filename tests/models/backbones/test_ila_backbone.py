"""Every family of image models with every temporal module."""
import pytest
import torch
from image_models import (ALIGNMENTS, COMPARISONS, IMAGES, OTHERS, RELEASED,
                          TOKEN, WITHOUT_CLASS_TOKEN, build, with_images)
from mmengine.runner import load_checkpoint
from torch import nn

from mmaction.registry import MODELS

# It adds a token with few operations.
NEIGHBOURS = COMPARISONS + 'NeighbourAverage'
with_alignments = pytest.mark.parametrize('temporal', ALIGNMENTS)

with_all = pytest.mark.parametrize('image, temporal', [
    *((image, temporal) for image in IMAGES for temporal in ALIGNMENTS),
    *(('clip', temporal) for temporal in (*OTHERS, None)),
])


@pytest.mark.parametrize('temporal', [*ALIGNMENTS, *OTHERS])
@with_images
def test_trains(image, temporal):
    if image in WITHOUT_CLASS_TOKEN and temporal.endswith('MessageToken'):
        with pytest.raises(ValueError, match='needs a class token'):
            build(image, temporal)
        return
    model = build(image, temporal)
    model.train()
    height, width = (32, 32) if image == 'eva02' else (24, 48)
    out = model(torch.randn(2, 3, 3, height, width))
    assert out.frames.shape[:2] == (2, 3)
    assert out.patches.shape == (2, 3, height * width // 64, 32)
    loss = out.frames.square().sum()
    if temporal in ALIGNMENTS:
        assert out.points.shape == (2, 2, 2, 2, 2)
        assert out.align_loss.shape == (2, )
        loss = loss + out.align_loss.sum()
    else:
        assert out.points is None and out.align_loss is None
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name


@with_alignments
@with_images
def test_freezing_leaves_what_is_added(image, temporal):
    model = build(image, temporal, freeze_image=True)
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == name.startswith('temporal.'), name


@with_images
def test_first_blocks_freeze_with_what_comes_before(image):
    used = build(image, None).image
    used.embed(torch.randn(1, 3, 32, 32))[0].sum().backward()
    stem = {
        name
        for name, value in used.named_parameters() if value.grad is not None
    }
    model = build(image, None, freeze_image=1).image
    first = {id(value) for value in model.blocks[0].parameters()}
    for name, parameter in model.named_parameters():
        frozen = name in stem or id(parameter) in first
        assert parameter.requires_grad != frozen, name
    for name, parameter in build(
            image, None, freeze_image=0).image.named_parameters():
        assert parameter.requires_grad == (name not in stem), name
    for number in (4, -1, 'all'):
        with pytest.raises(ValueError, match='up to 2, got.*`model.backbone'):
            build(image, None, freeze_image=number)


@torch.no_grad()
def test_one_frame_has_nothing_to_relate():
    model, video = build('clip', None), torch.randn(2, 3, 2, 32, 32)
    torch.testing.assert_close(
        model(video[:, :, :1]).frames,
        model(video).frames[:, :1])


@with_all
def test_recomputed_blocks_learn_the_same(image, temporal):
    video = torch.randn(2, 3, 4, 32, 32)
    results = []
    for with_cp in (False, True):
        model = build(image, temporal, with_cp=with_cp)
        model.train()
        out = model(video)
        loss = out.frames.square().sum()
        if out.align_loss is not None:
            loss = loss + out.align_loss.sum()
        loss.backward()
        gradients = {
            name: parameter.grad
            for name, parameter in model.named_parameters()
        }
        results.append((dict(model.named_buffers()), gradients))
    torch.testing.assert_close(*results, rtol=0, atol=0)
    tracked = [
        value for name, value in results[1][0].items()
        if name.endswith('num_batches_tracked')
    ]
    assert bool(tracked) == (temporal in ALIGNMENTS)
    assert all(value == 1 for value in tracked)


@with_all
@torch.no_grad()
def test_deployed_model_gives_the_same_with_less(image, temporal):
    model = build(image, temporal)
    video = torch.randn(2, 3, 4, 32, 32)
    expected = model(video)
    model.switch_to_deploy()
    names = model.state_dict().keys()
    model.switch_to_deploy()  # Once more changes nothing.
    assert model.state_dict().keys() == names
    for own, other in zip(model(video), expected):
        torch.testing.assert_close(own, other, rtol=1e-3, atol=1e-3)
    assert not any('.bn.' in name or '.skip_fc.' in name for name in names)
    if image == 'clip':
        assert all(
            isinstance(block.ffn.layers[0][1], nn.SiLU)
            for block in model.image.blocks)


class Frames(nn.Module):

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone

    def forward(self, video):
        return self.backbone(video, with_loss=False).frames


@pytest.mark.parametrize('image', [name for name in IMAGES if name != 'clip'])
@torch.no_grad()
def test_compiles_into_one_graph_and_exports(image):
    """Strict exports trace as ``torch.compile`` does, and take one graph only.

    The recognizer's test compiles CLIP with all modules and trains it, and
    tests/tools/test_export.py exports it.
    """
    temporal = TOKEN if image == 'timm_dinov2' else NEIGHBOURS
    model = build(image, temporal, depth=1).requires_grad_(False)
    model.switch_to_deploy()
    program = torch.export.export(
        Frames(model), (torch.randn(2, 3, 4, 32, 32), ),
        dynamic_shapes=({
            0: torch.export.Dim('batch')
        }, ),
        strict=True)
    video = torch.randn(3, 3, 4, 32, 32)
    torch.testing.assert_close(program.module()(video), model(video).frames)


@pytest.mark.parametrize('image, temporal, layers', [
    *((image, temporal, [0, 1]) for image in IMAGES
      for temporal in ALIGNMENTS),
    *(('clip', temporal, layers) for temporal in (*ALIGNMENTS, *OTHERS)
      for layers in ([0], [1])),
])
@torch.no_grad()
def test_a_block_gets_what_is_changed_and_loses_the_token(
        image, temporal, layers):
    model = build(image, temporal, layers=layers)
    changes, ins, outs = [], [], []
    for number, block in enumerate(model.image.blocks):
        if number in layers:
            model.temporal[str(number)].register_forward_hook(
                lambda module, args, change: changes.append((args, change)))
        block.register_forward_pre_hook(
            lambda block, args: ins.append(args[0]))
        block.register_forward_hook(lambda block, args, out: outs.append(out))
    video = torch.randn(2, 3, 3, 32, 32)
    tokens, _ = model.image.embed(video.transpose(1, 2).flatten(0, 1))
    model(video)
    first = model.image.num_prefix
    assert len(changes) == len(layers)
    for number in range(2):
        expected = tokens
        tokens = outs[number][:, :first + 16]
        if number not in layers:
            assert torch.equal(ins[number], expected)
            continue
        (patches, class_token, *_), change = changes.pop(0)
        assert torch.equal(patches.reshape(6, 16, 32), expected[:, first:])
        if model.image.has_class_token:
            assert torch.equal(class_token.reshape(6, 32), expected[:, 0])
        expected = expected.clone()
        if change.class_token is not None:
            expected[:, 0] += change.class_token.reshape(6, 32)
        if change.patches is not None:
            expected[:, first:] += change.patches.reshape(6, 16, 32)
        if change.token is not None:
            expected = torch.cat([expected, change.token.reshape(6, 1, 32)], 1)
        torch.testing.assert_close(ins[number], expected)


@with_alignments
@torch.no_grad()
def test_chosen_blocks(temporal):
    full = build(temporal=temporal)
    chosen = build(temporal=temporal, layers=[1])
    assert chosen.temporal_layers == (1, )
    out = chosen(torch.randn(2, 3, 3, 32, 32))
    assert out.points.shape[0] == out.align_loss.shape[0] == 1
    for model, other in ((full, chosen), (chosen, full)):
        with pytest.raises(ValueError, match='lack.*fix `model.backbone`'):
            model.load_state_dict(other.state_dict(), strict=False)


@pytest.mark.parametrize('image', ['dinov2', 'eva02', 'timm_pe'])
@torch.no_grad()
def test_recognizers_checkpoint_comes_back(image, tmp_path):

    def build_recognizer(image, **kwargs):
        model = MODELS.build(
            dict(
                type='ILARecognizer',
                backbone=dict(type='ILABackbone', image=IMAGES['vit']),
                cls_head=dict(
                    type='ILALinearHead', num_classes=5, in_channels=32)))
        model.backbone = build(image, **kwargs)
        return model.eval()

    model, path = build_recognizer(image), str(tmp_path / 'ila.pth')
    torch.save(dict(state_dict=model.state_dict()), path)
    other = build_recognizer(image)
    for parameter in other.parameters():
        parameter.zero_()
    load_checkpoint(other, path, map_location='cpu', strict=True)
    inputs = torch.randn(1, 1, 3, 4, 32, 32)
    assert torch.equal(other(inputs)['logits'], model(inputs)['logits'])
    for wrong in (build_recognizer(image, depth=1), build_recognizer('vit')):
        with pytest.raises(ValueError, match='ila.pth: the weights'):
            load_checkpoint(wrong, path, map_location='cpu')


@pytest.mark.parametrize('temporal',
                         [RELEASED, COMPARISONS + 'DividedAttention'])
@torch.no_grad()
def test_starts_as_the_image_model(temporal):
    settings = dict(type='ILABackbone', image=IMAGES['clip'])
    model = MODELS.build(dict(settings, temporal=dict(type=temporal)))
    model.init_weights()
    plain = MODELS.build(dict(settings, temporal=None))
    plain.image.load_state_dict(model.image.state_dict())
    video = torch.randn(1, 3, 3, 32, 32)
    torch.testing.assert_close(model.eval()(video).frames,
                               plain.eval()(video).frames)


@torch.no_grad()
def test_disturbance_scale_reaches_the_alignments():
    model = build(layers=[1])
    video = torch.randn(1, 3, 2, 32, 32)
    calm, rough = (model(video, disturb=x).frames for x in (False, True))
    assert not torch.equal(calm, rough)
    model.set_disturbance_scale(0.)
    assert torch.equal(model(video, disturb=True).frames, calm)


@pytest.mark.parametrize('kwargs, message', [
    (dict(layers=[0, 2]), r'from 0 to 1, got \[0, 2\]; fix `model.backbone.l'),
    (dict(layers=[-1]), r'got \[-1\]; fix'),
    (dict(layers=[1, 1]), r'different .* got \[1, 1\]; fix'),
    (dict(layers=['1']), r"got \['1'\]; fix"),
    (dict(layers=[True]), r'got \[True\]; fix'),
    (dict(temporal='CLIPImage'), "'CLIPImage' is not a temporal module"),
    (dict(temporal='Nope'), "'Nope' is not a temporal module"),
    (dict(settings=dict(embed_dims=8)), r"remove \['embed_dims'\]"),
    (dict(settings=dict(predictor=None)), 'predictor must be a dict'),
    (dict(temporal=RELEASED, settings=dict(predictor=None)),
     'predictor, got None; remove .*, a dict'),
    (dict(settings=dict(predictor=dict(pairs=1))), r"remove \['pairs'\]"),
    (dict(settings=dict(predictor=dict(norm_cfg=None))), 'predictor.norm_cfg'),
    (dict(temporal=RELEASED, settings=dict(predictor=dict(channels=63))),
     'even number .* got 63; fix .*predictor.channels'),
    (dict(layers=1), 'must be a list of .* got 1; fix'),
    (dict(layers=[]), 'empty; fix `model.backbone.layers`, or'),
    (dict(layers=[0], temporal=None), 'leave `model.backbone.layers` out'),
    (dict(image='timm_siglip2', settings=dict(difference=True)),
     'TokenAlignment with these settings needs a class token'),
    (dict(temporal=RELEASED, settings=dict(difference=True)),
     '`model.backbone.temporal.difference` out'),
])
def test_bad_settings(kwargs, message):
    with pytest.raises(ValueError, match=message):
        build(**kwargs)


@pytest.mark.parametrize('shape, message', [
    ((1, 3, 1, 32, 32), 'relate frames, got videos of 1; fix `clip_len`'),
    ((1, 3, 2, 30, 32), 'do not divide an input of 30 x 32; fix the crop'),
])
@with_images
def test_bad_input(image, shape, message):
    with pytest.raises(ValueError, match=message):
        build(image)(torch.randn(shape))
