import copy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.runner import load_checkpoint
from modules import load_module
from torch.nn.modules.batchnorm import _BatchNorm

from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from projects.ila.utils import is_alignment
from projects.ila.visualization import record_token_attention

ROOT = Path(__file__).resolve().parents[3]
CONFIGS = sorted(ROOT.glob('configs/generality/*_k400.py'))

ARCH = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)
VIT = dict(type='mmpretrain.VisionTransformer', arch=ARCH, patch_size=8)
EVA02 = dict(VIT, type='mmpretrain.ViTEVA02', sub_ln=True)
SETTINGS = dict(
    vit=dict(image_backbone=VIT),
    eva02=dict(image_backbone=EVA02),
    dinov2=dict(
        image_backbone=dict(VIT, layer_scale_init_value=0.5), num_registers=3))
KINDS = list(SETTINGS)
CLOSE = dict(rtol=1e-4, atol=1e-4)


@torch.no_grad()
def disturb(module):
    """Leave nothing as it is initialised, points and statistics either."""
    for name, parameter in module.named_parameters():
        scale = 1. if '.point.' in name else 0.2
        parameter.add_(scale * torch.randn_like(parameter))
    for part in module.modules():
        if isinstance(part, _BatchNorm):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)


def with_settings(kind, **kwargs):
    settings = dict(type='ILAImageBackbone', img_size=32)
    return copy.deepcopy({**settings, **SETTINGS[kind], **kwargs})


def build(kind, **kwargs):
    torch.manual_seed(0)
    model = MODELS.build(with_settings(kind, **kwargs))
    model.init_weights()
    disturb(model)
    return model.eval()


def build_plain(kind):
    torch.manual_seed(1)
    model = MODELS.build(dict(SETTINGS[kind]['image_backbone'], img_size=32))
    model.init_weights()
    disturb(model)
    model.eval()
    return model


def build_recognizer(kind, **kwargs):
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            type='ILARecognizer',
            backbone=with_settings(kind, **kwargs),
            neck=dict(
                type='MultiframeIntegrationTransformer',
                embed_dims=32,
                num_frames=4),
            cls_head=dict(type='ILALinearHead', num_classes=5,
                          in_channels=32)))


def norm(x, weights, name, eps):
    return F.layer_norm(x, x.shape[-1:], weights[f'{name}.weight'],
                        weights[f'{name}.bias'], eps)


def linear(x, weights, name):
    return x @ weights[f'{name}.weight'].T + weights[f'{name}.bias']


def angles_of(row, column, rows, columns, width):
    """Angles of a patch: a half of the channel pairs for either axis."""
    rates = [10000.**(-4 * i / width) for i in range(width // 4)]
    return torch.tensor([4 * row / rows * rate for rate in rates] +
                        [4 * column / columns * rate for rate in rates])


def attend(tokens, weights, name, rotations=None):
    """Attention of one frame's tokens, head by head and query by query."""
    query, key, value = linear(tokens, weights, f'{name}.qkv').chunk(3, dim=-1)
    heads = []
    for h in range(ARCH['num_heads']):
        q, k, v = (
            part[:, 16 * h:16 * h + 16].clone()
            for part in (query, key, value))
        for i, angles in enumerate(rotations or ()):
            for part in (q, k):  # Patch i is token 1 + i.
                pairs = torch.view_as_complex(part[1 + i].view(8, 2))
                pairs *= torch.polar(torch.ones(8), angles)
        rows = []
        for one in q:
            weight = torch.stack([one @ other for other in k]).div(4).exp()
            rows.append(weight @ v / weight.sum())
        heads.append(torch.stack(rows))
    return linear(torch.cat(heads, dim=-1), weights, f'{name}.proj')


def block_by_loop(kind, tokens, mutual, weights, rotations):
    """One block for one frame: class token, patches and registers."""
    joined = torch.cat([tokens, mutual[None]])
    if kind == 'eva02':
        y = norm(joined, weights, 'norm1', 1e-5)
        x = tokens + attend(y, weights, 'attn', rotations)[:-1]
        y = norm(x, weights, 'norm2', 1e-5)
        gate, values = linear(y, weights, 'mlp.w12').chunk(2, dim=-1)
        y = norm(gate * gate.sigmoid() * values, weights, 'mlp.norm', 1e-5)
        return x + linear(y, weights, 'mlp.w3')
    scales = (
        weights.get(name, 1.)
        for name in ('attn.gamma1.weight', 'ffn.gamma2.weight'))
    y = norm(joined, weights, 'ln1', 1e-6)
    x = tokens + next(scales) * attend(y, weights, 'attn')[:-1]
    y = linear(norm(x, weights, 'ln2', 1e-6), weights, 'ffn.layers.0.0')
    y = y * (1 + torch.erf(y / 2**0.5)) / 2
    return x + next(scales) * linear(y, weights, 'ffn.layers.1')


@pytest.mark.parametrize('difference', [False, True])
@pytest.mark.parametrize('kind', KINDS)
@torch.no_grad()
def test_equals_loops(kind, difference):
    model = build(kind, alignment=dict(difference=difference))
    rotations = [
        angles_of(row, column, 4, 4, 16) for row in range(4)
        for column in range(4)
    ]
    if kind == 'eva02':
        # As EVA-02's files have them: one angle for each pair of channels.
        angles = torch.stack(rotations).repeat_interleave(2, dim=1)
        rope = model.image_backbone.rope
        rope.freqs_cos.copy_(angles.cos())
        rope.freqs_sin.copy_(angles.sin())
    weights = model.image_backbone.state_dict()
    registers = model.num_registers
    videos = torch.randn(2, 3, 3, 32, 32)
    out = model(videos)
    for video, frames, patches in zip(videos, out.frames, out.patches):
        tokens = []
        for image in video.unbind(1):
            grid = F.conv2d(
                image,
                weights['patch_embed.projection.weight'],
                weights['patch_embed.projection.bias'],
                stride=8)
            x = torch.cat([weights['cls_token'][0], grid.flatten(1).T])
            x = x + weights['pos_embed'][0]
            if registers:
                x = torch.cat([x, weights['register_tokens'][0]])
            tokens.append(x)
        for i, alignment in enumerate(model.alignment):
            maps = torch.stack([x[1:17].view(4, 4, 32) for x in tokens])
            mutual, change, points, _ = alignment(maps[None])
            if difference:
                assert change.abs().mean() > 0.01
                for x, added in zip(tokens, change[0]):
                    x[0] += added
            assert points.abs().max() > 0.1
            part = {
                name[len(f'layers.{i}.'):]: value
                for name, value in weights.items()
                if name.startswith(f'layers.{i}.')
            }
            tokens = [
                block_by_loop(kind, x, token, part, rotations)
                for x, token in zip(tokens, mutual[0])
            ]
        eps = 1e-5 if kind == 'eva02' else 1e-6
        for t, x in enumerate(tokens):
            torch.testing.assert_close(frames[t],
                                       norm(x[0], weights, 'ln1', eps),
                                       **CLOSE)
            torch.testing.assert_close(patches[t], x[1:17], **CLOSE)


def hide_last_token(model, monkeypatch):
    """Let nothing attend to the mutual-information tokens."""
    softmax = torch.Tensor.softmax

    def masked_softmax(scores, dim):
        hidden = scores.clone()
        hidden[..., -1] = -torch.inf
        return softmax(hidden, dim)

    def masked_attention(query, key, value, dropout_p):
        mask = torch.ones(key.shape[2], dtype=torch.bool)
        mask[-1] = False
        return F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask.expand(query.shape[2], -1))

    monkeypatch.setattr(torch.Tensor, 'softmax', masked_softmax)
    for layer in model.image_backbone.layers:
        if hasattr(layer.attn, 'scaled_dot_product_attention'):
            monkeypatch.setattr(layer.attn, 'scaled_dot_product_attention',
                                masked_attention)


@pytest.mark.parametrize('kind, size', [('vit', (32, 32)), ('vit', (24, 48)),
                                        ('vit', (30, 45)), ('eva02', (32, 32)),
                                        ('dinov2', (32, 32))])
@torch.no_grad()
def test_without_the_token_frames_are_mmpretrains(kind, size, monkeypatch):
    plain, model = build_plain(kind), build(kind, num_registers=0)
    model.image_backbone.load_state_dict(plain.state_dict())
    video = torch.randn(1, 3, 4, *size)
    expected, = plain(video[0].transpose(0, 1))
    own = model(video).frames[0]
    assert (own - expected).abs().max() > 0.02
    hide_last_token(model, monkeypatch)
    torch.testing.assert_close(model(video).frames[0], expected, **CLOSE)


@pytest.mark.parametrize('kind', KINDS)
@torch.no_grad()
def test_form_none_is_mmpretrains(kind):
    plain = build_plain(kind)
    model = build(kind, form='none', num_registers=0)
    model.image_backbone.load_state_dict(plain.state_dict())
    video = torch.randn(2, 3, 4, 32, 32)
    out = model(video)
    for own, frames in zip(out.frames, video):
        expected, = plain(frames.transpose(0, 1))
        torch.testing.assert_close(own, expected, **CLOSE)
    assert out.patches.shape == (2, 4, 16, 32)
    assert out.points is None and out.align_loss is None


@pytest.mark.parametrize('kind', KINDS)
def test_form_none_has_no_part_of_the_alignment(kind):
    model = build_recognizer(kind, form='none')
    names = {name for name, _ in model.named_parameters()}
    with_ila = build_recognizer(kind).named_parameters()
    assert names == {name for name, _ in with_ila if not is_alignment(name)}
    assert model.backbone.aligned_layers == []
    samples = [ActionDataSample().set_gt_label(label) for label in (1, 3)]
    losses = model(torch.randn(2, 1, 3, 4, 32, 32), samples, mode='loss')
    assert {'loss_cls', 'top1_acc', 'top5_acc'} == set(losses)


@pytest.mark.parametrize('settings, message', [
    (dict(form='released'), r"form must be .* got 'released'; mend"),
    (dict(form='none', alignment=dict(radius=0.1)), "'none' aligns nothing"),
])
def test_other_forms_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        build('vit', **settings)


@pytest.mark.parametrize('kind', KINDS)
def test_shapes(kind):
    model = build(kind)
    for frames in (2, 5):
        out = model(torch.randn(2, 3, frames, 32, 32))
        assert out.frames.shape == (2, frames, 32)
        assert out.patches.shape == (2, frames, 16, 32)
        assert out.points.shape == (2, 2, frames - 1, 2, 2)
        assert out.align_loss.shape == (2, )
    assert model(
        torch.randn(1, 3, 2, 32, 32), with_loss=False).align_loss is None


def train_step(model):
    """Take one step and give the parameters that moved."""
    before = {
        name: value.detach().clone()
        for name, value in model.named_parameters()
    }
    trained = [x for x in model.parameters() if x.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=1.)
    samples = [ActionDataSample().set_gt_label(label) for label in (1, 3)]
    losses = model(torch.randn(2, 1, 3, 4, 32, 32), samples, mode='loss')
    assert {'loss_cls', 'loss_align', 'top1_acc', 'top5_acc'} == set(losses)
    model.parse_losses(losses)[0].backward()
    assert all(parameter.grad is not None for parameter in trained)
    optimizer.step()
    return {
        name
        for name, value in model.named_parameters()
        if not torch.equal(value, before[name])
    }


@pytest.mark.parametrize('kind', KINDS)
def test_training_reaches_image_and_alignment(kind):
    model = build_recognizer(kind)
    model.init_weights()
    still = {name for name, _ in model.named_parameters()} - train_step(model)
    # The normalisation behind it takes a bias away, up to rounding.
    assert all(
        name.endswith('conv.bias') and is_alignment(name) for name in still)


@pytest.mark.parametrize('kind', KINDS)
def test_freeze_image_leaves_the_alignment(kind):
    model = build_recognizer(kind, freeze_image=True)
    model.init_weights()
    moved = {
        name
        for name in train_step(model) if name.startswith('backbone.')
    }
    names = {name for name, _ in model.backbone.named_parameters('backbone')}
    added = {name for name in names if name.startswith('backbone.alignment.')}
    assert {name for name in names if is_alignment(name)} == added
    assert moved <= added
    assert all(name.endswith('conv.bias') for name in added - moved)


def write_weights(path, kind, drop=()):
    """Write a classifier of mmpretrain and give its backbone's weights."""
    weights = build_plain(kind).state_dict()
    for name in drop:
        del weights[name]
    checkpoint = {f'backbone.{name}': x for name, x in weights.items()}
    checkpoint['head.layers.head.weight'] = torch.zeros(3, 32)
    torch.save(dict(state_dict=checkpoint), path)
    return weights


def with_weights(kind, path, prefix='backbone.', img_size=32, **kwargs):
    init_cfg = dict(type='Pretrained', checkpoint=str(path), prefix=prefix)
    image = {**SETTINGS[kind]['image_backbone'], 'init_cfg': init_cfg}
    return build_recognizer(
        kind, image_backbone={
            **image,
            **kwargs
        }, img_size=img_size)


@pytest.mark.parametrize('kind', KINDS)
def test_init_cfg_takes_mmpretrains_weights(kind, tmp_path):
    path = tmp_path / 'image.pth'
    # mmpretrain's files of EVA-02 lack the last norm.
    drop = ('ln1.weight', 'ln1.bias') if kind == 'eva02' else ()
    weights = write_weights(path, kind, drop)
    model = with_weights(kind, path)
    model.init_weights()
    own = model.backbone.image_backbone.state_dict()
    for name, value in weights.items():
        assert torch.equal(own[name], value), name
    assert own.keys() - weights.keys() == {
        *drop, *(['register_tokens'] if kind == 'dinov2' else [])
    }


def test_init_cfg_takes_registers(tmp_path):
    path = tmp_path / 'image.pth'
    torch.save(build('dinov2').image_backbone.state_dict(), path)
    model = with_weights('dinov2', path, prefix=None)
    model.init_weights()
    torch.testing.assert_close(
        model.backbone.image_backbone.register_tokens,
        torch.load(path)['register_tokens'],
        rtol=0,
        atol=0)
    plain = with_weights('vit', path, prefix=None, layer_scale_init_value=0.5)
    with pytest.raises(ValueError, match='1 that it lacks .register_tokens'):
        plain.init_weights()


@torch.no_grad()
def test_init_cfg_interpolates_positions(tmp_path):
    path = tmp_path / 'image.pth'
    weights = write_weights(path, 'vit')
    model = with_weights('vit', path, img_size=64)
    model.init_weights()
    grid = weights['pos_embed'][0, 1:].T.reshape(1, 32, 4, 4)
    expected = F.interpolate(grid, size=(8, 8), mode='bicubic')
    torch.testing.assert_close(model.backbone.image_backbone.pos_embed[0, 1:],
                               expected[0].flatten(1).T)


@pytest.mark.parametrize('kind, kwargs, message', [
    ('vit', dict(arch=dict(ARCH, feedforward_channels=48)),
     r"'layers.0.ffn.*is \(64.*the model's \(48.*mend the sizes"),
    ('vit', dict(arch=dict(ARCH, num_layers=1)),
     r'lack 0 .*have \d+ that it lacks \(layers.1'),
    ('vit', dict(arch=dict(ARCH, num_layers=3)),
     r'lack \d+ entries .*\(layers.2.*have 0'),
    ('vit', dict(layer_scale_init_value=0.1), 'lack 4 .*gamma'),
    ('vit', dict(prefix=None), 'lack .*mend .*`prefix`'),
    ('vit', dict(prefix='model.'), 'model. is not in .*; mend the `prefix`'),
    ('eva02', dict(img_size=48), r"rope.freqs_cos' is \(16.*weights of that"),
])
def test_weights_of_another_image_backbone(kind, kwargs, message, tmp_path):
    write_weights(tmp_path / 'image.pth', kind)
    model = with_weights(kind, tmp_path / 'image.pth', **kwargs)
    with pytest.raises(ValueError, match=rf'image\.pth: .*{message}') as error:
        model.init_weights()
    assert str(error.value).count('image.pth') == 1


def test_missing_weights(tmp_path):
    model = with_weights('vit', tmp_path / 'none.pth')
    with pytest.raises(FileNotFoundError, match='none.pth.* does not exist'):
        model.init_weights()


@pytest.mark.parametrize('kind', KINDS)
def test_recognizers_checkpoint_comes_back(kind, tmp_path):
    model = build_recognizer(kind)
    disturb(model)
    path = str(tmp_path / 'ila.pth')
    torch.save(dict(state_dict=model.state_dict()), path)
    other = build_recognizer(kind)
    load_checkpoint(other, path, map_location='cpu', strict=True)
    inputs = torch.randn(1, 1, 3, 4, 32, 32)
    with torch.no_grad():
        expected, own = (one.eval()(inputs) for one in (model, other))
    assert torch.equal(own['logits'], expected['logits'])

    smaller = build_recognizer(
        kind,
        image_backbone=dict(
            SETTINGS[kind]['image_backbone'], arch=dict(ARCH, num_layers=1)))
    for wrong in (smaller, build_recognizer(KINDS[KINDS.index(kind) - 1])):
        with pytest.raises(ValueError, match='ila.pth: the weights'):
            load_checkpoint(wrong, path, map_location='cpu')


@pytest.mark.parametrize('kind', KINDS)
@torch.no_grad()
def test_deployed_model_gives_the_same_with_less(kind):
    model = build(kind)
    video = torch.randn(2, 3, 4, 32, 32)
    expected = model(video)
    model.switch_to_deploy()
    model.switch_to_deploy()  # Once more changes nothing.
    for own, other in zip(model(video), expected):
        torch.testing.assert_close(own, other, rtol=1e-3, atol=1e-4)
    assert not any('.bn.' in name for name in model.state_dict())


@pytest.mark.parametrize('kind', KINDS)
def test_compiles_into_one_graph(kind):
    model = build(kind)
    compiled = torch.compile(model, backend='eager', fullgraph=True)
    video = torch.randn(2, 3, 4, 32, 32)
    for own, other in zip(compiled(video), model(video)):
        torch.testing.assert_close(own, other)


def test_what_hooks_and_tools_ask_for():
    model = build('dinov2')
    model.set_disturbance_scale(0.5)
    for number, layer in zip(model.temporal_layers, model.aligned_layers):
        assert layer.attn is model.image_backbone.layers[number].attn
        assert layer.alignment is model.alignment[number]
        assert layer.alignment.disturbance_scale == 0.5
    assert model.arch_settings == dict(ARCH, patch_size=8)
    depths = {
        name: model.get_layer_depth(f'backbone.{name}', 'backbone.')
        for name, _ in model.named_parameters()
    }
    for name, depth in depths.items():
        part, _, rest = name.partition('.')
        expected = 3
        if part == 'image_backbone' and not rest.startswith('ln1.'):
            expected = 0
            if rest.startswith('layers.'):
                expected = 1 + int(rest.split('.')[1])
        assert depth == (expected, 4), name
    assert model.get_layer_depth('cls_head.fc.bias', 'backbone.') == (3, 4)


@pytest.mark.parametrize('kind', KINDS)
@torch.no_grad()
def test_recorded_attention_is_that_of_the_blocks(kind):
    """Of rotated keys too, and without the registers."""
    model = build(kind)
    found = []

    def attend(query, key, value, dropout_p):
        scores = query @ key.transpose(-2, -1) * query.shape[-1]**-0.5
        found.append(scores.softmax(-1))
        return found[-1] @ value

    for layer in model.image_backbone.layers:
        if kind == 'eva02':
            layer.attn.attn_drop.register_forward_hook(
                lambda module, args, output: found.append(output))
        else:
            layer.attn.scaled_dot_product_attention = attend
    with record_token_attention(model) as recorded:
        model(torch.randn(2, 3, 4, 32, 32))
    assert len(found) == len(recorded) == 2
    # Class token, patches, registers, mutual-information token.
    kept = [*range(17), -1]
    for weights, attention in zip(found, recorded):
        weights = weights.mean(1)[:, kept][:, :, kept]
        torch.testing.assert_close(attention.received, weights[:, :-1, -1])
        torch.testing.assert_close(attention.paid, weights[:, -1])


@pytest.mark.parametrize('image, message', [
    (dict(VIT, with_cls_token=False), 'with_cls_token must be True'),
    (dict(VIT, type='mmpretrain.BEiTViT'), "blocks of 'mmpretrain.BEiTViT'"),
    (dict(type='mmpretrain.ResNet', depth=18), 'blocks of .*; mend'),
    (dict(VIT, img_size=32), 'move .* to `model.backbone.img_size`'),
])
def test_other_image_backbones_are_refused(image, message):
    with pytest.raises(ValueError, match=message):
        build('vit', image_backbone=image)


def test_out_type_leaves_no_unused_parameters():
    image = dict(VIT, out_type='avg_featmap')
    names = build('vit', image_backbone=image).state_dict().keys()
    assert names == build('vit').state_dict().keys()


@pytest.mark.parametrize('kind', KINDS)
def test_one_frame_is_refused(kind):
    with pytest.raises(ValueError, match='videos of 1; mend `clip_len`'):
        build(kind)(torch.randn(1, 3, 1, 32, 32))


def test_other_sizes_are_refused_by_rotary_positions():
    with pytest.raises(ValueError, match='of 4 x 4 patches, .* has 3 x 6; '):
        build('eva02')(torch.randn(1, 3, 2, 24, 48))


@pytest.fixture(params=CONFIGS, ids=lambda path: path.stem)
def cfg(request):
    return Config.fromfile(request.param)


def test_configs(cfg):
    again = Config.fromstring(cfg.pretty_text, '.py')
    assert again._cfg_dict == cfg._cfg_dict
    preprocessor = cfg.model.pop('data_preprocessor')
    for blending in preprocessor.blending.augments:
        assert blending.num_classes == cfg.model.cls_head.num_classes
    erase, = (
        transform for transform in cfg.train_dataloader.dataset.pipeline
        if transform.get('op') == 'RandomErasing')
    assert erase.value == tuple(map(round, preprocessor.mean))

    with torch.device('meta'):
        model = MODELS.build(cfg.model).eval()
        logits = model(torch.empty(2, 1, 3, 8, 224, 224))['logits']
    assert logits.shape == (2, 400)

    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    groups = {
        parameter: group
        for group in optim_wrapper.optimizer.param_groups
        for parameter in group['params']
    }
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(prefix, recurse=False):
            rate = groups[parameter]['lr'] / 8e-6
            expected = 62.5 if is_alignment(name) else 50.
            if name.startswith('backbone.image_backbone.'):
                expected = 1.
            assert rate == pytest.approx(expected), name
            # Normalisations, the layers' scales, biases and positions.
            spared = parameter.dim() == 1 or name == 'neck.pos_embed'
            assert (groups[parameter]['weight_decay'] == 0) == spared, name


def test_macs_equal_closed_form():
    tool = load_module(ROOT / 'tools/analysis/get_flops.py')
    cfg = Config.fromfile(ROOT / 'configs/generality/ila_eva02-b14_k400.py')
    macs, parameters = tool.count(cfg.model, 8, (224, 224))
    # The class token, patches and the mutual-information token.
    tokens, hidden = 1 + 16 * 16 + 1, 2048
    block = tokens * (4 * 768**2 + 3 * 768 * hidden) + 2 * tokens**2 * 768
    assert macs['blocks'] == 8 * 12 * block
    assert macs['patch embedding'] == 8 * 256 * 3 * 14**2 * 768
    assert parameters['patch embedding'] == 768 * (3 * 14**2 + 1 + 1 + 257)
