"""Every family of image models with every temporal module."""
import copy

import open_clip
import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmaction.registry import MODELS
from projects.ila.weights import convert_clip

COMPARISONS = 'projects.ila.models.temporal.comparisons.'
TOKEN, RELEASED = ALIGNMENTS = ['TokenAlignment', 'ReleasedAlignment']
OTHERS = [
    COMPARISONS + name for name in ('TemporalShift', 'DividedAttention',
                                    'MessageToken', 'NeighbourAverage')
]
ARCH = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)
VIT = dict(type='mmpretrain.VisionTransformer', arch=ARCH, patch_size=8)


def with_timm(model, **kwargs):
    sizes = dict(embed_dim=32, depth=2, num_heads=2, img_size=32, patch_size=8)
    return dict(type='TimmImage', model=model, **{**sizes, **kwargs})


IMAGES = dict(
    clip=dict(
        type='CLIPImage',
        arch=dict(ARCH, patch_size=8, out_channels=16),
        img_size=32),
    vit=dict(type='MMPretrainImage', model=VIT, img_size=32),
    registers=dict(
        type='MMPretrainImage',
        model=dict(VIT, layer_scale_init_value=0.5),
        img_size=32,
        num_registers=3),
    eva02=dict(
        type='MMPretrainImage',
        model=dict(VIT, type='mmpretrain.ViTEVA02', sub_ln=True),
        img_size=32),
    timm_dinov2=with_timm('vit_small_patch14_reg4_dinov2', init_values=0.5),
    timm_dinov3=with_timm('vit_small_patch16_dinov3'),
    timm_siglip2=with_timm('vit_base_patch16_siglip_224.v2_webli'),
    timm_pe=with_timm('vit_pe_core_base_patch16_224'),
    timm_eva02=with_timm('eva02_tiny_patch14_224'),
    timm_clip=with_timm('vit_base_patch32_clip_224.openai'),
)
WITHOUT_CLASS_TOKEN = ['timm_siglip2']
with_images = pytest.mark.parametrize('image', IMAGES)
with_alignments = pytest.mark.parametrize('temporal', ALIGNMENTS)
with_all = pytest.mark.parametrize('image, temporal', [
    *((image, temporal) for image in IMAGES for temporal in ALIGNMENTS),
    *(('clip', temporal) for temporal in (*OTHERS, None)),
])


class QuickGELU(nn.Module):

    def forward(self, x):
        return x * torch.sigmoid(1.702 * x)


@torch.no_grad()
def stir(module):
    """Leave nothing as it is initialised, points and statistics either."""
    torch.manual_seed(1)
    for name, parameter in module.named_parameters():
        scale = 1. if '.point.' in name else 0.2
        parameter.add_(scale * torch.randn_like(parameter))
    for part in module.modules():
        if isinstance(part, _BatchNorm):
            part.running_mean.normal_(std=0.1)
            part.running_var.uniform_(0.5, 2)


def build(image='clip', temporal=TOKEN, settings=dict(), **kwargs):
    torch.manual_seed(0)
    if temporal is not None:
        temporal = dict(type=temporal, **settings)
    model = MODELS.build(
        dict(
            type='ILABackbone',
            image=copy.deepcopy(IMAGES[image]),
            temporal=temporal,
            **kwargs))
    model.init_weights()
    stir(model)
    return model.eval()


def build_original(model, image):
    """The library's own model with the weights of an adapter's."""
    settings = dict(IMAGES[image])
    if settings.pop('type') == 'TimmImage':
        own = timm.create_model(
            settings.pop('model'), num_classes=0, **settings)
    elif image == 'clip':
        own = open_clip.transformer.VisionTransformer(
            32, 8, 32, 2, 2, 2., output_dim=16, act_layer=QuickGELU)
        ours = model.state_dict()
        for name, value in own.state_dict().items():
            # The name alone is asked for, not what becomes of the value.
            (new, shaped), = convert_clip({f'visual.{name}': value}).items()
            found = ours[new.removeprefix('backbone.')]
            assert found.shape == shaped.shape
            found = found.t() if name == 'proj' else found
            value.copy_(found.reshape(value.shape))
        return own.eval()
    else:
        own = MODELS.build(dict(settings['model'], img_size=32))
    weights = model.image.model.state_dict()
    own.load_state_dict(weights)
    own.eval()  # mmpretrain's returns nothing.
    return own


@pytest.mark.parametrize('image', [x for x in IMAGES if x != 'registers'])
@torch.no_grad()
def test_without_temporal_module_features_are_the_librarys(image):
    model = build(image, None)
    original = build_original(model, image)
    video = torch.randn(2, 3, 3, 32, 32)
    out = model(video)
    expected = original(video.transpose(1, 2).flatten(0, 1))
    if isinstance(expected, tuple):
        expected = expected[-1]
    assert expected.std() > 0.05
    torch.testing.assert_close(
        out.frames.flatten(0, 1), expected, rtol=1e-5, atol=1e-5)
    assert out.points is None and out.align_loss is None
    assert model.alignments == [] and not len(model.temporal)


@pytest.mark.parametrize('size', [(32, 32), (24, 48)])
@pytest.mark.parametrize('temporal', [*ALIGNMENTS, *OTHERS])
@with_images
def test_trains(image, temporal, size):
    if image == 'eva02' and size != (32, 32):
        with pytest.raises(ValueError, match='4 x 4 .* has 3 x 6; fix'):
            build(image, temporal)(torch.randn(1, 3, 2, *size))
        return
    if image in WITHOUT_CLASS_TOKEN and temporal.endswith('MessageToken'):
        with pytest.raises(ValueError, match='needs a class token'):
            build(image, temporal)
        return
    model = build(image, temporal)
    model.train()
    out = model(torch.randn(2, 3, 3, *size))
    assert out.frames.shape[:2] == (2, 3)
    assert out.patches.shape == (2, 3, size[0] * size[1] // 64, 32)
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
def test_layer_depths(image):
    model = build(image)
    after = ('image.model.ln1.', 'image.model.norm.', 'image.model.fc_norm.',
             'image.model.attn_pool.', 'image.proj.', 'temporal.')
    found = set()
    for name, _ in model.named_parameters():
        depth = model.get_layer_depth(f'backbone.{name}', 'backbone.')
        expected = 3 if name.startswith(after) else 0
        for number in range(2):
            if name.startswith((f'image.model.layers.{number}.',
                                f'image.model.blocks.{number}.')):
                expected = number + 1
        assert depth == (expected, 4), name
        found.add(expected)
    assert found == {0, 1, 2, 3}
    assert model.get_layer_depth('cls_head.fc.bias', 'backbone.') == (3, 4)


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


@with_all
def test_compiles_into_one_graph(image, temporal):
    torch.compiler.reset()  # It compiles no more than eight models.
    model = build(image, temporal)
    compiled = torch.compile(model, backend='eager', fullgraph=True)
    video = torch.randn(2, 3, 4, 32, 32)
    for own, other in zip(compiled(video), model(video)):
        torch.testing.assert_close(own, other)


class Frames(nn.Module):

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone

    def forward(self, video):
        return self.backbone(video, with_loss=False).frames


@with_images
@torch.no_grad()
def test_exports(image):
    model = build(image).requires_grad_(False)
    model.switch_to_deploy()
    program = torch.export.export(
        Frames(model), (torch.randn(2, 3, 4, 32, 32), ),
        dynamic_shapes=({
            0: torch.export.Dim('batch')
        }, ),
        strict=True)
    video = torch.randn(3, 3, 4, 32, 32)
    torch.testing.assert_close(program.module()(video), model(video).frames)


@pytest.mark.parametrize('temporal', [*ALIGNMENTS, *OTHERS])
@with_images
@torch.no_grad()
def test_a_block_gets_what_is_changed_and_loses_the_token(image, temporal):
    if image in WITHOUT_CLASS_TOKEN and temporal.endswith('MessageToken'):
        return  # See test_trains.
    model, changes, ins, outs = build(image, temporal), [], [], []
    for module, block in zip(model.temporal.values(), model.image.blocks):
        module.register_forward_hook(
            lambda module, args, change: changes.append((args, change)))
        block.register_forward_pre_hook(
            lambda block, args: ins.append(args[0]))
        block.register_forward_hook(lambda block, args, out: outs.append(out))
    video = torch.randn(2, 3, 3, 32, 32)
    tokens, _ = model.image.embed(video.transpose(1, 2).flatten(0, 1))
    model(video)
    first = model.image.num_prefix
    assert len(changes) == 2
    for number, ((patches, class_token, *_), change) in enumerate(changes):
        expected = tokens.clone()
        assert torch.equal(patches.reshape(6, 16, 32), tokens[:, first:])
        if model.image.has_class_token:
            assert torch.equal(class_token.reshape(6, 32), tokens[:, 0])
        if change.class_token is not None:
            expected[:, 0] += change.class_token.reshape(6, 32)
        if change.patches is not None:
            expected[:, first:] += change.patches.reshape(6, 16, 32)
        if change.token is not None:
            expected = torch.cat([expected, change.token.reshape(6, 1, 32)], 1)
        torch.testing.assert_close(ins[number], expected)
        tokens = outs[number][:, :first + 16]


@pytest.mark.parametrize('image',
                         ['eva02', 'timm_dinov3', 'timm_pe', 'timm_eva02'])
@torch.no_grad()
def test_added_token_has_no_rotary_position(image):
    model = build(image, None)
    tokens, positions = model.image.embed(torch.randn(2, 3, 32, 32))
    # A second class token, which has no position, comes out as the first.
    joined = torch.cat([tokens, tokens[:, :1]], dim=1)
    out = model.image.run(0, joined, positions)
    torch.testing.assert_close(out[:, -1], out[:, 0])
    alone = model.image.run(0, tokens, positions)
    assert (alone - out[:, :-1]).abs().max() > 1e-4


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


def test_position_embedding_is_interpolated_on_load():
    small = MODELS.build(dict(type='ILABackbone', image=IMAGES['clip']))
    large = MODELS.build(
        dict(type='ILABackbone', image=dict(IMAGES['clip'], img_size=64)))
    large.load_state_dict(small.state_dict())
    grid = small.image.model.pos_embed[0, 1:].T.reshape(1, 32, 4, 4)
    expected = F.interpolate(grid, size=(8, 8), mode='bicubic')
    torch.testing.assert_close(large.image.model.pos_embed[0, 1:],
                               expected[0].flatten(1).T)


@pytest.mark.parametrize('arch, layers, params', [('clip-b/32', 12, 87.8),
                                                  ('clip-b/16', 12, 86.2),
                                                  ('clip-l/14', 24, 304.)])
def test_named_archs_have_clips_size(arch, layers, params):
    """Millions of parameters of CLIP's image towers, as open_clip has them."""
    with torch.device('meta'):
        model = MODELS.build(dict(type='ILAVisionTransformer', arch=arch))
    assert len(model.image.blocks) == layers
    clip = sum(parameter.numel() for parameter in model.image.parameters())
    assert clip / 1e6 == pytest.approx(params, abs=0.1)


@pytest.mark.parametrize('kwargs, message', [
    (dict(layers=[0, 2]), r'from 0 to 1, got \[0, 2\]; fix `model.backbone.l'),
    (dict(layers=[-1]), r'got \[-1\]; fix'),
    (dict(layers=[1, 1]), r'different .* got \[1, 1\]; fix'),
    (dict(layers=['1']), r"got \['1'\]; fix"),
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


@pytest.mark.parametrize('image, message', [
    (dict(type='CLIPImage', arch='clip-b/8'), "unknown arch 'clip-b/8'"),
    (dict(type='CLIPImage', arch=ARCH), r"lacks \['out_channels'"),
    (dict(type='MMPretrainImage', model=dict(
        VIT, with_cls_token=False)), 'with_cls_token must be True'),
    (dict(type='MMPretrainImage', model=dict(type='mmpretrain.ResNet')),
     "blocks of 'mmpretrain.ResNet'; fix"),
    (dict(type='MMPretrainImage', model=dict(
        VIT, img_size=32)), 'move .* to `model.backbone.image.img_size`'),
    (dict(type='TimmImage', model='resnet18'), "timm cannot build 'resnet18'"),
    (dict(type='TimmImage', model='no_such'), "timm cannot build 'no_such'"),
    (dict(type='TimmImage',
          model='deit_tiny_distilled_patch16_224'), "blocks of 'deit_tiny"),
    (with_timm('vit_base_patch16_224', patch_drop_rate=0.5), 'all of their'),
])
def test_bad_images(image, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(dict(type='ILABackbone', image=image))


@pytest.mark.parametrize('shape, message', [
    ((1, 3, 1, 32, 32), 'pairs of frames, got videos of 1; fix `clip_len`'),
    ((1, 3, 2, 30, 32), 'do not divide an input of 30 x 32; fix the crop'),
])
@with_images
def test_bad_input(image, shape, message):
    with pytest.raises(ValueError, match=message):
        build(image)(torch.randn(shape))
