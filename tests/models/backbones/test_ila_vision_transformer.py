import copy
import itertools

import pytest
import torch
import torch.nn.functional as F
from mmengine.optim import build_optim_wrapper
from mmpretrain.models import VisionTransformer
from mmpretrain.models.backbones.vision_transformer import \
    TransformerEncoderLayer

from mmaction.registry import MODELS
from projects.ila.models.layers import ALIGNMENT_LAYERS, LAYERS
from projects.ila.utils import is_alignment

# Forms without interactive points.
OTHERS = [form for form in LAYERS if form not in ALIGNMENT_LAYERS]
ARCH = dict(
    embed_dims=32,
    num_layers=2,
    num_heads=2,
    feedforward_channels=64,
    patch_size=8,
    out_channels=16)


def build(img_size=32, num_layers=2, seed=0, **kwargs):
    torch.manual_seed(seed)
    model = MODELS.build(
        dict(
            type='ILAVisionTransformer',
            arch=dict(ARCH, num_layers=num_layers),
            img_size=img_size,
            **kwargs))
    model.init_weights()
    model.eval()
    return model


def norm(x, weights, name):
    return F.layer_norm(x, x.shape[-1:], weights[f'{name}.weight'],
                        weights[f'{name}.bias'])


def linear(x, weights, name):
    return x @ weights[f'{name}.weight'].T + weights[f'{name}.bias']


def conv(x, weights, name, groups=1):
    """Convolution, batch normalisation of running statistics and ReLU."""
    x = F.conv2d(
        x[None],
        weights[f'{name}.conv.weight'],
        weights[f'{name}.conv.bias'],
        padding=weights[f'{name}.conv.weight'].shape[-1] // 2,
        groups=groups)[0]
    scale = weights[f'{name}.bn.weight'] / torch.sqrt(
        weights[f'{name}.bn.running_var'] + 1e-5)
    x = x - weights[f'{name}.bn.running_mean'][:, None, None]
    return F.relu(x * scale[:, None, None] +
                  weights[f'{name}.bn.bias'][:, None, None])


def token_layer_by_loop(x, weights, grid):
    """The paper's block for one video, ``(T, 1 + H * W, C)``, in loops."""
    frames, height, width = grid
    channels = x.shape[-1]
    mutual = [[] for _ in range(frames)]
    for t in range(frames - 1):
        pair = torch.cat([
            frame[1:].T.reshape(channels, height, width)
            for frame in (x[t], x[t + 1])
        ])
        predictor = 'alignment.predictor'
        y = conv(pair, weights, f'{predictor}.interaction.0.depthwise_conv',
                 len(pair))
        y = conv(y, weights, f'{predictor}.interaction.0.pointwise_conv')
        y = F.max_pool2d(y, 2)
        y = F.max_pool2d(conv(y, weights, f'{predictor}.prediction'), 2).mean(
            (1, 2))
        halves = []
        for i in range(2):  # two groups of channels: 64 in, 32 out each
            halves.append(
                weights[f'{predictor}.point.0.weight'][32 * i:32 * i + 32, :,
                                                       0, 0]
                @ y[64 * i:64 * i + 64])
        y = F.relu(torch.cat(halves) + weights[f'{predictor}.point.0.bias'])
        last = weights[f'{predictor}.point.2.weight'][..., 0, 0]
        point = torch.cat([last[:2] @ y[:32], last[2:] @ y[32:]])
        point = 0.75 * torch.tanh(point + weights[f'{predictor}.point.2.bias'])
        for i in range(2):
            pooled = torch.zeros(channels)
            for row, column in itertools.product(range(height), range(width)):
                weight = 1.
                for at, length, centre in ((column, width, point[2 * i]),
                                           (row, height, point[2 * i + 1])):
                    distance = abs(-1 + 2 * at / (length - 1) - centre)
                    weight *= max(0., 1 - 1.5 * max(0., distance - 0.25))
                pooled += weight * x[t + i, 1 + row * width + column]
            mutual[t + i].append(pooled / (height * width))

    out = []
    for t in range(frames):
        token = sum(mutual[t]) / len(mutual[t])
        y = norm(torch.cat([x[t], token[None]]), weights, 'ln1')
        query, key, value = linear(y, weights, 'attn.qkv').chunk(3, dim=-1)
        heads = []
        for h in range(ARCH['num_heads']):
            part = slice(h * 16, h * 16 + 16)
            scores = query[:, part] @ key[:, part].T / 4
            heads.append(scores.softmax(-1) @ value[:, part])
        y = x[t] + linear(torch.cat(heads, -1), weights, 'attn.proj')[:-1]
        z = linear(norm(y, weights, 'ln2'), weights, 'ffn.layers.0.0')
        z = z * torch.sigmoid(1.702 * z)
        out.append(y + linear(z, weights, 'ffn.layers.1'))
    return torch.stack(out)


@torch.no_grad()
def test_token_layer_equals_loops():
    layer = build().layers[0]
    for name, parameter in layer.named_parameters():
        if name.endswith('bias'):
            parameter.normal_(std=0.1)
        elif 'point' in name:  # initial points are all but central
            parameter.normal_()
    for module in layer.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    grid = (4, 4, 6)
    x = torch.randn(2 * 4, 1 + 4 * 6, 32)
    out, points, _ = layer(x, grid)
    assert points.abs().max() > 0.3
    weights = layer.state_dict()
    for video in range(2):
        part = slice(4 * video, 4 * video + 4)
        torch.testing.assert_close(out[part],
                                   token_layer_by_loop(x[part], weights, grid))


@pytest.mark.parametrize('form', ['released', 'none', 'divided'])
@torch.no_grad()
def test_starts_as_plain_clip(form):
    """Zero-initialised layers leave the features of mmpretrain's ViT alone."""
    model = build(form=form)
    clip = VisionTransformer(
        arch={
            key: ARCH[key]
            for key in ARCH if key not in ('patch_size', 'out_channels')
        },
        img_size=32,
        patch_size=8,
        pre_norm=True,
        norm_cfg=dict(type='LN', eps=1e-5),
        layer_cfgs=dict(act_cfg=dict(type='mmpretrain.QuickGELU')))
    clip.eval()
    clip.load_state_dict({
        name: value
        for name, value in model.state_dict().items()
        if not is_alignment(name) and name != 'proj.weight'
    })
    video = torch.randn(1, 3, 3, 32, 32)
    frames, = clip(video[0].transpose(0, 1))
    torch.testing.assert_close(model(video).frames[0], model.proj(frames))


@pytest.mark.parametrize('form', ['token', 'released'])
@pytest.mark.parametrize('frames, height, width', [(2, 32, 32), (5, 24, 48),
                                                   (3, 8, 16)])
def test_shapes_of_any_input(form, frames, height, width):
    model = build(form=form)
    patches = height * width // 64
    out = model(torch.randn(2, 3, frames, height, width))
    assert out.frames.shape == (2, frames, 16)
    assert out.patches.shape == (2, frames, patches, 32)
    assert out.points.shape == (2, 2, frames - 1, 2, 2)
    assert out.align_loss.shape == (2, )


@pytest.mark.parametrize('form', OTHERS)
def test_other_forms_take_any_input_and_have_no_points(form):
    model = build(form=form)
    model.set_disturbance_scale(0.5)  # Of no effect.
    for frames, height, width in ((2, 32, 32), (5, 8, 16)):
        out = model(torch.randn(2, 3, frames, height, width))
        assert out.frames.shape == (2, frames, 16)
        assert out.patches.shape == (2, frames, height * width // 64, 32)
        assert out.points is None and out.align_loss is None


def test_position_embedding_is_interpolated_on_load():
    small, large = build(img_size=32), build(img_size=64)
    large.load_state_dict(small.state_dict())
    grid = small.pos_embed[0, 1:].T.reshape(1, 32, 4, 4)
    expected = F.interpolate(grid, size=(8, 8), mode='bicubic')
    torch.testing.assert_close(large.pos_embed[0, 1:],
                               expected[0].flatten(1).T)


def test_released_predictor_takes_other_widths():
    predictor = dict(channels=12, hidden_channels=10)
    model = build(form='released', alignment=dict(predictor=predictor))
    shapes = {
        name.split('alignment.')[1]: tuple(parameter.shape)
        for name, parameter in model.layers[0].named_parameters()
        if 'alignment.' in name and 'conv.weight' in name
        or 'temporal_fc.weight' in name or 'point.0.weight' in name
    }
    width = model.embed_dims
    assert shapes == {
        'predictor.interaction.0.depthwise_conv.conv.weight':
        (2 * width, 1, 3, 3),
        'predictor.interaction.0.pointwise_conv.conv.weight':
        (12, 2 * width, 1, 1),
        'predictor.interaction.1.conv.weight': (12, 12, 3, 3),
        'predictor.reduction.conv.weight': (10, 12, 3, 3),
        'predictor.prediction.conv.weight': (10, 10, 3, 3),
        'predictor.point.0.weight': (64, 5, 1, 1),
        'temporal_conv.weight': (6, 6, 3, 1),
        'temporal_fc.weight': (width, 6),
    }
    assert model(torch.randn(1, 3, 3, 16, 16)).frames.shape[:2] == (1, 3)


@pytest.mark.parametrize('form', LAYERS)
def test_names_tell_what_clip_lacks(form):
    clip = dict(build(form='none').named_parameters())
    model = build(form=form)
    head = model.get_layer_depth('proj.weight')
    for name, _ in model.named_parameters():
        assert is_alignment(name) == (name not in clip), name
        if name not in clip:
            assert model.get_layer_depth(name) == head, name


@pytest.mark.parametrize('form, added', [
    ('none', set()),
    ('shift', set()),
    ('neighbours', set()),
    ('divided', {'temporal_ln', 'temporal_attn'}),
    ('message', {'message_fc', 'message_ln', 'message_attn'}),
    ('token', {'alignment'}),
    ('released', {
        'alignment', 'message_fc', 'message_ln', 'temporal_skip_fc',
        'temporal_skip_align_fc'
    }),
])
def test_freeze_clip_leaves_what_is_added(form, added):
    model = build(form=form, freeze_clip=True)
    trained = {
        name.split('.')[2] if name.startswith('layers') else name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
    assert trained == added
    assert all(
        parameter.requires_grad for parameter in build(form=form).parameters())


def test_disturbance_scale_reaches_all_layers():
    model = build()
    model.set_disturbance_scale(0.5)
    assert [layer.alignment.disturbance_scale
            for layer in model.layers] == [0.5, 0.5]


def test_disturbance_scale_reaches_the_chosen_layers():
    model = build(temporal_layers=[1])
    video = torch.randn(1, 3, 2, 32, 32)
    calm, rough = (model(video, disturb=x).frames for x in (False, True))
    assert not torch.equal(calm, rough)
    model.set_disturbance_scale(0.)
    assert torch.equal(model(video, disturb=True).frames, calm)


@pytest.mark.parametrize('arch, layers, params', [('clip-b/32', 12, 87.8),
                                                  ('clip-b/16', 12, 86.2),
                                                  ('clip-l/14', 24, 304.)])
def test_named_archs_have_clips_size(arch, layers, params):
    """Millions of parameters of CLIP's image towers, as open_clip has them."""
    with torch.device('meta'):
        model = MODELS.build(dict(type='ILAVisionTransformer', arch=arch))
    assert len(model.layers) == layers
    clip = sum(parameter.numel()
               for name, parameter in model.named_parameters()
               if 'alignment' not in name)
    assert clip / 1e6 == pytest.approx(params, abs=0.1)


@pytest.mark.parametrize('kwargs, message', [
    (dict(arch='clip-b/8'), "unknown arch 'clip-b/8'.*clip-b/16"),
    (dict(arch=dict(embed_dims=32)), r"lacks \['feedforward_channels'"),
    (dict(arch=ARCH, form='both'), "form must be one of .* got 'both'"),
    (dict(arch=ARCH, form='none', alignment=dict(radius=1.)),
     "the form 'none' aligns nothing; leave `model.backbone.alignment` out"),
    (dict(arch=ARCH, temporal_layers=[0, 2]),
     r'from 0 to 1, got \[0, 2\]; mend `model.backbone.temporal_layers`'),
    (dict(arch=ARCH, temporal_layers=[-1]), r'from 0 to 1, got \[-1\]; mend'),
    (dict(arch=ARCH, temporal_layers=[1, 1
                                      ]), r'different .* got \[1, 1\]; mend'),
    (dict(arch=ARCH, temporal_layers=['1']), r"got \['1'\]; mend"),
    (dict(arch=ARCH, temporal_layers=1), 'must be a list of .* got 1; mend'),
    (dict(arch=ARCH, temporal_layers=[]),
     "empty; mend `model.backbone.temporal_layers`, or .*form='none'`"),
    (dict(arch=ARCH, form='none', temporal_layers=[0]),
     "'none' has no temporal layers; leave `model.backbone.temporal_layers`"),
    (dict(arch=ARCH, form='shift', share_predictor=True),
     "'shift' aligns nothing; leave `model.backbone.share_predictor` out"),
])
def test_bad_settings(kwargs, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(dict(type='ILAVisionTransformer', **kwargs))


@pytest.mark.parametrize('shape, message', [
    ((1, 3, 1, 32, 32), 'pairs of frames, got videos of 1; mend `clip_len`'),
    ((1, 3, 2, 30, 32), 'do not divide an input of 30 x 32; mend the crop'),
])
def test_bad_input(shape, message):
    with pytest.raises(ValueError, match=message):
        build()(torch.randn(shape))


@pytest.mark.parametrize('form', ['token', 'released'])
@pytest.mark.parametrize('stem', ['separable', 'dense'])
def test_deployed_model_gives_the_same_with_less(form, stem):
    model = build(form=form, alignment=dict(predictor=dict(stem=stem)))
    for name, value in model.state_dict().items():
        if name.endswith('running_mean') or '_skip_' in name:
            torch.nn.init.normal_(value, std=0.1)
        elif name.endswith('running_var'):
            torch.nn.init.uniform_(value, 0.5, 2)
    video = torch.randn(2, 3, 4, 32, 32)
    expected = model(video)
    model.switch_to_deploy()
    for own, other in zip(model(video), expected):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-5)
    weights = model.state_dict()
    assert not any('.bn.' in name for name in weights)
    assert not any('temporal_skip_fc' in name for name in weights)
    # Once more changes nothing.
    model.switch_to_deploy()
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[name])


@pytest.mark.parametrize('form', OTHERS)
def test_deployed_other_forms_give_the_same(form):
    model = build(form=form)
    for name, parameter in model.named_parameters():
        if is_alignment(name):
            torch.nn.init.normal_(parameter, std=0.1)
    video = torch.randn(2, 3, 4, 32, 32)
    expected = model(video)
    model.switch_to_deploy()
    torch.testing.assert_close(
        model(video).frames, expected.frames, rtol=1e-4, atol=1e-5)
    assert all(
        isinstance(layer.ffn.layers[0][1], torch.nn.SiLU)
        for layer in model.layers)


@pytest.mark.parametrize('form, kwargs', [
    *((form, dict()) for form in LAYERS),
    ('token', dict(temporal_layers=[1])),
    ('token', dict(share_predictor=True)),
    ('released', dict(share_predictor=True)),
])
def test_recomputed_blocks_learn_the_same(form, kwargs):
    video = torch.randn(2, 3, 4, 32, 32)
    results = []
    for with_cp in (False, True):
        model = build(form=form, with_cp=with_cp, drop_path_rate=0.2, **kwargs)
        model.train()
        torch.manual_seed(1)
        out = model(video)
        loss = out.frames.square().sum()
        if form in ALIGNMENT_LAYERS:
            loss = loss + out.align_loss.sum()
        loss.backward()
        results.append((out.align_loss, dict(model.named_buffers()), {
            name: parameter.grad
            for name, parameter in model.named_parameters()
        }))
    for own, other in zip(*results):
        torch.testing.assert_close(own, other, rtol=0, atol=0)
    tracked = [
        value for name, value in results[1][1].items()
        if name.endswith('num_batches_tracked')
    ]
    assert bool(tracked) == (form in ALIGNMENT_LAYERS)
    # What both blocks share has seen a batch of each.
    batches = 2 if 'share_predictor' in kwargs else 1
    assert all(value == batches for value in tracked)


@pytest.mark.parametrize('form, kwargs', [
    *((form, dict()) for form in LAYERS),
    ('token', dict(share_predictor=True)),
    ('released', dict(share_predictor=True, temporal_layers=[1])),
])
def test_compiles_into_one_graph(form, kwargs):
    torch.compiler.reset()  # It compiles no more than eight models.
    model = build(form=form, **kwargs)
    compiled = torch.compile(model, backend='eager', fullgraph=True)
    video = torch.randn(2, 3, 4, 32, 32)
    for own, other in zip(compiled(video), model(video)):
        torch.testing.assert_close(own, other)


def stir(model):
    """Give all weights effect, so that none can be mistaken for another."""
    torch.manual_seed(1)
    for name, value in model.state_dict().items():
        if name.endswith('running_var'):
            value.uniform_(0.5, 2)
        elif is_alignment(name) and value.is_floating_point():
            # Initial points are all but central.
            value.normal_(std=0.5 if '.point.' in name else 0.1)


def plain_layer(layer):
    """CLIP's own block, with the weights of one of ours."""
    plain = TransformerEncoderLayer(
        ARCH['embed_dims'],
        ARCH['num_heads'],
        ARCH['feedforward_channels'],
        act_cfg=dict(type='mmpretrain.QuickGELU'),
        norm_cfg=dict(type='LN', eps=1e-5))
    plain.load_state_dict(layer.state_dict())  # It has nothing else.
    return plain.eval()


@pytest.mark.parametrize('form', [form for form in LAYERS if form != 'none'])
@torch.no_grad()
def test_only_chosen_blocks_are_of_the_form(form):
    """Against a loop over blocks of a full model and of mmpretrain's."""
    full = build(form=form, num_layers=4)
    stir(full)
    weights = full.state_dict()
    chosen = build(form=form, num_layers=4, temporal_layers=[3, 1])
    chosen.load_state_dict({
        name: weights[name]
        for name in chosen.state_dict() if name in weights
    })
    inputs = []
    chosen.layers[0].register_forward_pre_hook(
        lambda _, args: inputs.append(args[0]))
    out = chosen(torch.randn(2, 3, 3, 24, 32))

    x, = inputs
    points, losses = [], []
    for number, layer in enumerate(full.layers):
        if number in (1, 3):
            x, layer_points, loss = layer(x, (3, 3, 4))
            points.append(layer_points)
            losses.append(loss)
        else:
            x = plain_layer(chosen.layers[number])(x)
    torch.testing.assert_close(out.patches.flatten(0, 1), x[:, 1:])
    assert chosen.temporal_layers == (1, 3)
    if form in ALIGNMENT_LAYERS:
        torch.testing.assert_close(out.points, torch.stack(points))
        torch.testing.assert_close(out.align_loss, torch.stack(losses))
        assert out.points.std() > 0.1
    else:
        assert out.points is None and out.align_loss is None


@torch.no_grad()
def test_chosen_token_block_equals_loops():
    model = build(temporal_layers=[1])
    stir(model)
    inputs = []
    model.layers[0].register_forward_pre_hook(
        lambda _, args: inputs.append(args[0]))
    out = model(torch.randn(1, 3, 3, 32, 48))
    x = plain_layer(model.layers[0])(inputs[0])
    x = token_layer_by_loop(x, model.layers[1].state_dict(), (3, 4, 6))
    torch.testing.assert_close(out.patches[0], x[:, 1:])


@pytest.mark.parametrize('form', LAYERS)
def test_choosing_all_blocks_is_the_default(form):
    video = torch.randn(1, 3, 3, 32, 32)
    default = build(form=form)
    layers = None if form == 'none' else (1, 0)
    model = build(form=form, temporal_layers=layers, share_predictor=False)
    assert [*default.state_dict()] == [*model.state_dict()]
    for own, other in zip(model(video), default(video)):
        assert own is other is None or torch.equal(own, other)


@pytest.mark.parametrize('form, added', [
    ('token', {'alignment.predictor'}),
    ('released', {
        'alignment.predictor', 'alignment.temporal_conv',
        'alignment.temporal_fc', 'message_fc', 'message_ln',
        'temporal_skip_fc', 'temporal_skip_align_fc'
    }),
    ('divided', {'temporal_ln', 'temporal_attn'}),
])
def test_freeze_clip_leaves_what_is_added_to_the_chosen(form, added):
    model = build(
        form=form, num_layers=3, temporal_layers=[0, 2], freeze_clip=True)
    trained = {
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
    head = model.get_layer_depth('proj.weight')
    for part in (f'layers.{number}.{part}.' for number in (0, 2)
                 for part in added):
        names = {name for name in trained if name.startswith(part)}
        assert names, part
        assert {model.get_layer_depth(name) for name in names} == {head}
        trained -= names
    assert not trained
    assert model.get_layer_depth('layers.1.ln1.weight') == (2, head[1])


def unshare(shared, **kwargs):
    """A model with a predictor in each block, all with the shared weights."""
    model = build(num_layers=len(shared.layers), **kwargs)
    weights = shared.state_dict()
    part = 'alignment.predictor.'
    model.load_state_dict({
        name:
        weights[part + name.partition(f'.{part}')[2] if part in name else name]
        for name in model.state_dict()
    })
    return model


@pytest.mark.parametrize('form', ALIGNMENT_LAYERS)
@pytest.mark.parametrize('layers', [None, [2, 0]])
def test_shared_predictor_equals_equal_ones(form, layers):
    """In what they give and, summed over the blocks, in their gradients."""
    kwargs = dict(form=form, temporal_layers=layers)
    shared = build(num_layers=3, share_predictor=True, **kwargs)
    stir(shared)
    separate = unshare(shared, **kwargs)
    video = torch.randn(2, 3, 4, 32, 32)
    weighting = torch.randn(2, 4, 16)
    for training in (False, True):
        for model in (shared, separate):
            model.zero_grad()
            model.train(training)
            for module in model.modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    module.eval()
            out = model(video)
            loss = (out.frames * weighting).sum() + out.align_loss.sum()
            loss.backward()
        for own, other in zip(shared(video), separate(video)):
            assert torch.equal(own, other)
        gradients = {
            name: parameter.grad
            for name, parameter in separate.named_parameters()
        }
        part = 'alignment.predictor.'
        for name, parameter in shared.named_parameters():
            expected = gradients.get(name)
            if name.startswith(part):
                expected = sum(gradients[f'layers.{number}.{name}']
                               for number in layers or range(3))
                assert expected.abs().max() > 0
            torch.testing.assert_close(
                parameter.grad, expected, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize('layers', [[0], [0, 2], [0, 1, 2, 3]])
def test_shared_predictor_counts_once(layers):

    def size(**kwargs):
        model = build(num_layers=4, **kwargs)
        return sum(parameter.numel() for parameter in model.parameters())

    width, channels = ARCH['embed_dims'], 128
    # Weights, bias and two of the normalisation; of both points' groups.
    predictor = (2 * width * (9 + 3) + channels * (2 * width + 3) + channels *
                 (9 * channels + 3) + 64 * (channels // 2 + 1) + 4 * (32 + 1))
    clip = size(form='none')
    assert size(temporal_layers=layers) == clip + len(layers) * predictor
    assert size(
        temporal_layers=layers, share_predictor=True) == clip + predictor


def test_shared_predictor_takes_the_statistics_of_all_blocks():
    model = build(share_predictor=True)
    batches = []
    norm = model.alignment.predictor.prediction.bn
    norm.register_forward_pre_hook(lambda _, args: batches.append(args[0]))
    model.train()
    model(torch.randn(2, 3, 4, 32, 32))
    assert len(batches) == 2
    mean = torch.zeros(128)
    for batch in batches:
        mean = 0.9 * mean + 0.1 * batch.mean((0, 2, 3))
    torch.testing.assert_close(norm.running_mean, mean)
    assert norm.num_batches_tracked == 2


@pytest.mark.parametrize('form', ALIGNMENT_LAYERS)
@pytest.mark.parametrize('kwargs', [
    dict(share_predictor=True),
    dict(temporal_layers=[1]),
    dict(share_predictor=True, temporal_layers=[0, 2])
])
def test_deployed_choice_gives_the_same(form, kwargs):
    model = build(form=form, num_layers=3, **kwargs)
    stir(model)
    video = torch.randn(2, 3, 4, 32, 32)
    expected = model(video)
    model.switch_to_deploy()
    for own, other in zip(model(video), expected):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-4)
    assert not any('.bn.' in name for name in model.state_dict())
    assert all(
        isinstance(layer.ffn.layers[0][1], torch.nn.SiLU)
        for layer in model.layers)


def test_shared_predictor_is_there_once():
    """For optimizers, averages of weights and what is not CLIP's."""
    model = build(share_predictor=True, freeze_clip=True)
    predictor = model.alignment.predictor
    trained = [
        name for name, parameter in model.named_parameters()
        if parameter.requires_grad
    ]
    assert trained == [
        f'alignment.predictor.{name}'
        for name, _ in predictor.named_parameters()
    ]
    head = model.get_layer_depth('proj.weight')
    assert {model.get_layer_depth(name) for name in trained} == {head}
    optimizer = build_optim_wrapper(
        model,
        dict(
            optimizer=dict(type='SGD', lr=1.),
            paramwise_cfg=dict(custom_keys={'.alignment.': dict(
                lr_mult=2.)}))).optimizer
    given = [p for group in optimizer.param_groups for p in group['params']]
    assert len(given) == len({*map(id, given)})
    assert {*map(id, given)} >= {*map(id, predictor.parameters())}

    average = copy.deepcopy(model)
    assert average.alignment.predictor is not predictor
    for layer in average.layers:
        assert layer.alignment.predictor is average.alignment.predictor


CHOICES = [
    dict(),
    dict(temporal_layers=[0]),
    dict(temporal_layers=[1]),
    dict(share_predictor=True),
    dict(share_predictor=True, temporal_layers=[0]),
    dict(share_predictor=True, temporal_layers=[1])
]


@pytest.mark.parametrize('form', ALIGNMENT_LAYERS)
def test_weights_of_another_choice_are_refused(form, tmp_path):
    models = [build(form=form, **kwargs) for kwargs in CHOICES]
    for number, model in enumerate(models):
        stir(model)
        torch.save(model.state_dict(), tmp_path / f'{number}.pth')
    video = torch.randn(1, 3, 3, 32, 32)
    files = range(len(models))
    for model, kwargs in zip(models, CHOICES):
        expected = model(video)
        for number in files:
            weights = torch.load(tmp_path / f'{number}.pth')
            fresh = build(form=form, seed=1, **kwargs)
            if CHOICES[number] == kwargs:
                fresh.load_state_dict(weights)
                for own, other in zip(fresh(video), expected):
                    assert torch.equal(own, other)
                continue
            with pytest.raises(ValueError, match=r'lack.*mend `model.backb'):
                fresh.load_state_dict(weights, strict=False)


@pytest.mark.parametrize('kwargs', CHOICES)
def test_any_choice_takes_clips_weights(kwargs):
    model, clip = build(seed=1, **kwargs), build(form='none')
    own = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(clip.state_dict(), strict=False)
    for name, value in model.state_dict().items():
        source = own if is_alignment(name) else clip.state_dict()
        assert torch.equal(value, source[name]), name
