import open_clip
import pytest
import timm
import torch
import torch.nn.functional as F
from image_models import ARCH, IMAGES, TIMM, VIT, build, with_images, with_timm
from mmengine.optim import build_optim_wrapper
from torch import nn

from mmaction.registry import MODELS
from projects.ila.weights import convert_clip


class QuickGELU(nn.Module):

    def forward(self, x):
        return x * torch.sigmoid(1.702 * x)


def timm_weights(weights):
    """Weights of mmpretrain's DINOv2 with the names of timm's."""
    first, weights['pos_embed'] = weights['pos_embed'].split([1, 16], dim=1)
    weights['cls_token'] = weights['cls_token'] + first
    for ours, theirs in {
            'register_tokens': 'reg_token',
            'patch_embed.projection': 'patch_embed.proj',
            'attn.gamma1.weight': 'ls1.gamma',
            'ffn.gamma2.weight': 'ls2.gamma',
            'ffn.layers.0.0': 'mlp.fc1',
            'ffn.layers.1': 'mlp.fc2',
            'layers.': 'blocks.',
            'ln': 'norm'
    }.items():
        weights = {
            name.replace(ours, theirs): value
            for name, value in weights.items()
        }
    weights['norm.weight'] = weights.pop('norm1.weight')
    weights['norm.bias'] = weights.pop('norm1.bias')
    return weights


def build_original(model, image):
    """The library's own model with the weights of an adapter's."""
    if image == 'dinov2':  # mmpretrain has no registers.
        own = timm.create_model(
            'vit_small_patch14_reg4_dinov2',
            num_classes=0,
            init_values=0.5,
            mlp_ratio=2,
            dynamic_img_size=True,
            **TIMM)
        own.load_state_dict(timm_weights(model.image.model.state_dict()))
        return own.eval()
    settings = dict(IMAGES[image])
    if settings.pop('type') == 'TimmImage':
        own = timm.create_model(
            settings.pop('model'),
            num_classes=0,
            dynamic_img_size=True,
            **settings)
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


# timm interpolates otherwise than mmpretrain.
ONE_SIZE = ['clip', 'dinov2', 'eva02']


@pytest.mark.parametrize('image, size', [
    *((image, (32, 32)) for image in IMAGES),
    *((image, (24, 48)) for image in IMAGES if image not in ONE_SIZE),
])
@torch.no_grad()
def test_without_temporal_module_features_are_the_librarys(image, size):
    model = build(image, None)
    original = build_original(model, image)
    video = torch.randn(2, 3, 3, *size)
    out = model(video)
    expected = original(video.transpose(1, 2).flatten(0, 1))
    if isinstance(expected, tuple):
        expected = expected[-1]
    assert expected.std() > 0.05
    torch.testing.assert_close(
        out.frames.flatten(0, 1), expected, rtol=1e-5, atol=1e-5)
    assert out.points is None and out.align_loss is None
    assert model.alignments == [] and not len(model.temporal)


def test_rotary_positions_of_another_size():
    with pytest.raises(ValueError, match='4 x 4 .* has 3 x 6; fix the crop'):
        build('eva02')(torch.randn(1, 3, 2, 24, 48))


@with_images
def test_layer_depths(image):
    model = build(image)
    after = ('image.model.ln1.', 'image.model.norm.', 'image.model.fc_norm.',
             'image.model.attn_pool.', 'image.proj.', 'temporal.')
    depths = dict()
    for name, _ in model.named_parameters():
        depth = model.get_layer_depth(f'backbone.{name}', 'backbone.')
        expected = 3 if name.startswith(after) else 0
        for number in range(2):
            if name.startswith((f'image.model.layers.{number}.',
                                f'image.model.blocks.{number}.')):
                expected = number + 1
        assert depth == (expected, 4), name
        depths[name] = expected
    assert {*depths.values()} == {0, 1, 2, 3}
    optimizer = build_optim_wrapper(
        model,
        dict(
            constructor='mmpretrain.LearningRateDecayOptimWrapperConstructor',
            optimizer=dict(type='SGD', lr=1., weight_decay=0.1),
            paramwise_cfg=dict(layer_decay_rate=0.5))).optimizer
    assert {
        group['param_name']: group['lr']
        for group in optimizer.param_groups
    } == {
        name: 0.5**(3 - depth)
        for name, depth in depths.items()
    }
    assert model.get_layer_depth('cls_head.fc.bias', 'backbone.') == (3, 4)


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


def test_position_embedding_is_interpolated_on_load():
    small = MODELS.build(dict(type='ILABackbone', image=IMAGES['clip']))
    large = MODELS.build(
        dict(type='ILABackbone', image=dict(IMAGES['clip'], img_size=64)))
    large.load_state_dict(small.state_dict())
    grid = small.image.model.pos_embed[0, 1:].T.reshape(1, 32, 4, 4)
    expected = F.interpolate(grid, size=(8, 8), mode='bicubic')
    torch.testing.assert_close(large.image.model.pos_embed[0, 1:],
                               expected[0].flatten(1).T)


@pytest.mark.parametrize(
    'image',
    [
        name for name in IMAGES if name.startswith('timm_')
        and name != 'timm_dinov3'  # Rotary positions alone.
    ])
@torch.no_grad()
def test_timms_positions_are_interpolated_on_load(image):
    """To what timm interpolates for the other input size."""
    small = build(image, None)
    large = MODELS.build(
        dict(
            type='ILABackbone',
            image=dict(IMAGES[image], img_size=64),
            temporal=None)).eval()
    large.load_state_dict(small.state_dict())
    video = torch.randn(1, 3, 1, 64, 64)
    torch.testing.assert_close(large(video).frames, small(video).frames)
    positions = 'image.model.pos_embed'
    weights = small.state_dict()
    weights[positions] = weights[positions][:, :-1]
    with pytest.raises(ValueError, match='not of a square; fix `model.back'):
        large.load_state_dict(weights)


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


@pytest.mark.parametrize('image, message', [
    (dict(type='CLIPImage', arch='clip-b/8'), "unknown arch 'clip-b/8'"),
    (dict(type='CLIPImage', arch=ARCH), r"lacks \['out_channels'"),
    (dict(type='MMPretrainImage', model=dict(
        VIT, with_cls_token=False)), 'with_cls_token must be True'),
    (dict(type='MMPretrainImage', model=dict(type='mmpretrain.ResNet')),
     "blocks of 'mmpretrain.ResNet'; fix"),
    (dict(type='MMPretrainImage',
          model=dict(arch=ARCH)), "blocks of 'None'; fix"),
    (dict(type='MMPretrainImage', model=dict(
        VIT, patch_size=(8, 4))), 'got 8 x 4 pixels every 8 x 4; fix'),
    (dict(type='MMPretrainImage', model=dict(VIT, patch_cfg=dict(stride=4))),
     'got 8 x 8 pixels every 4 x 4; fix .*patch_cfg'),
    (dict(type='MMPretrainImage', model=dict(
        VIT, img_size=32)), 'move .* to `model.backbone.image.img_size`'),
    (dict(type='TimmImage', model='resnet18'), "timm cannot build 'resnet18'"),
    (dict(type='TimmImage', model='no_such'), "timm cannot build 'no_such'"),
    (dict(type='TimmImage',
          model='deit_tiny_distilled_patch16_224'), "blocks of 'deit_tiny"),
    (with_timm('vit_base_patch16_224', patch_drop_rate=0.5), 'all of their'),
    (with_timm('vit_base_patch16_224', in_chans=1), 'remove .*in_chans'),
    (with_timm('vit_base_patch16_224', global_pool=''), '`global_pool`'),
    (with_timm('vit_base_patch16_224', depth=0), '`depth`'),
    (with_timm('vit_base_patch16_224', patch_size=(8, 16)), 'square, got 8 x'),
    (with_timm('vit_base_patch16_224', pretrained='a.pth'), 'got .a.pth'),
    (dict(type='TimmImage', model='local-dir:/none'), 'cannot build .local'),
    (dict(type='TimmImage',
          model='vit_small_patch16_18x2_224'), "blocks of 'vit_small"),
])
def test_bad_images(image, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(dict(type='ILABackbone', image=image))
