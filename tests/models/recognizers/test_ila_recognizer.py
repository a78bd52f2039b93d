import copy
import pickle

import pytest
import torch
from tiny import tiny_config

from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from projects.ila.models.alignment import ImplicitAlignment
from projects.ila.models.temporal import comparisons
from projects.ila.weights import is_temporal

TOKEN, RELEASED = ALIGNMENTS = ['TokenAlignment', 'ReleasedAlignment']
SHIFT, DIVIDED, MESSAGE, NEIGHBOURS = COMPARISONS = [
    f'{comparisons.__name__}.{name}'
    for name in ('TemporalShift', 'DividedAttention', 'MessageToken',
                 'NeighbourAverage')
]
OTHERS = [None, *COMPARISONS]

CONFIG = dict(
    type='ILARecognizer',
    backbone=dict(
        type='ILAVisionTransformer',
        arch=dict(
            embed_dims=32,
            num_layers=2,
            num_heads=2,
            feedforward_channels=64,
            patch_size=8,
            out_channels=16),
        img_size=32),
    neck=dict(
        type='MultiframeIntegrationTransformer', embed_dims=16, num_frames=4),
    cls_head=dict(type='ILALinearHead', num_classes=5, in_channels=16),
    data_preprocessor=dict(
        type='ActionDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        format_shape='NCTHW'))


def build(temporal=TOKEN, **kwargs):
    torch.manual_seed(0)
    config = copy.deepcopy(CONFIG)
    config['backbone']['temporal'] = temporal and dict(type=temporal)
    model = MODELS.build({**config, **kwargs})
    model.init_weights()
    return model


def build_one_block(temporal=TOKEN, backbone=dict(), **kwargs):
    """What is compiled is the same in every block."""
    backbone = {**copy.deepcopy(CONFIG['backbone']), **backbone}
    backbone['arch']['num_layers'] = 1
    backbone['temporal'] = dict(type=temporal)
    return build(backbone=backbone, **kwargs)


def samples(labels):
    return [ActionDataSample().set_gt_label(label) for label in labels]


@pytest.mark.parametrize('temporal', ALIGNMENTS)
def test_loss_has_its_own_weighted_alignment_term(temporal):
    model = build(temporal, align_loss_weight=0.5).eval()
    inputs = torch.randn(2, 1, 3, 4, 32, 32)
    losses = model(inputs, samples([1, 3]), mode='loss')
    per_block = model(inputs)['cos_loss']
    assert per_block.shape == (2, )
    torch.testing.assert_close(losses['loss_align'], 0.5 * per_block.sum())
    assert {'loss_cls', 'loss_align', 'top1_acc', 'top5_acc'} == set(losses)
    total, log = model.parse_losses(losses)
    torch.testing.assert_close(total,
                               losses['loss_cls'] + losses['loss_align'])
    assert 'loss_align' in log


@pytest.mark.parametrize('temporal', [*ALIGNMENTS, *OTHERS])
def test_every_trained_parameter_gets_a_gradient(temporal):
    model = build(temporal)
    losses = model(
        torch.randn(2, 1, 3, 4, 32, 32), samples([1, 3]), mode='loss')
    model.parse_losses(losses)[0].backward()
    unused = [
        name for name, parameter in model.named_parameters()
        if parameter.grad is None
    ]
    assert unused == []


def test_views_of_a_batch_are_averaged_as_probabilities():
    model = build().eval()
    inputs = torch.randn(2, 6, 3, 4, 32, 32)
    with torch.no_grad():
        results = model(inputs, samples([0, 1]), mode='predict')
        for video, result in zip(inputs, results):
            scores = [
                model(view[None, None])['logits'].softmax(-1)[0]
                for view in video
            ]
            torch.testing.assert_close(result.pred_score,
                                       torch.stack(scores).mean(0))


def test_max_testing_views_changes_nothing_but_memory():
    inputs = torch.randn(1, 5, 3, 4, 32, 32)
    whole, parts = build().eval(), build(test_cfg=dict(
        max_testing_views=2)).eval()
    sizes = []
    parts.backbone.register_forward_pre_hook(
        lambda module, args: sizes.append(len(args[0])))
    with torch.no_grad():
        expected = whole(inputs, samples([0]), mode='predict')[0]
        result = parts(inputs, samples([0]), mode='predict')[0]
    assert sizes == [2, 2, 1]
    torch.testing.assert_close(result.pred_score, expected.pred_score)


def test_batch_statistics_take_one_view_of_all_videos_at_a_time():
    inputs = torch.randn(3, 2, 3, 4, 32, 32)
    model = build(RELEASED, test_cfg=dict(batch_statistics=True)).eval()
    expected = build(RELEASED).eval()
    with torch.no_grad():
        results = model(inputs, samples([0, 1, 2]), mode='predict')
        views = []
        for view in range(2):
            for norm in expected.modules():
                if isinstance(norm, torch.nn.BatchNorm2d):
                    norm.train()
            views.append(expected(inputs[:, view:view + 1])['logits'])
    scores = torch.stack(views).softmax(-1).mean(0)
    for result, score in zip(results, scores):
        torch.testing.assert_close(result.pred_score, score)
    for own, other in zip(model.buffers(), expected.buffers()):
        torch.testing.assert_close(own, other)
    assert model.extract_feat(inputs, test_mode=True)[0][0].shape == (6, 16)


@pytest.mark.parametrize('settings, message', [
    (dict(max_testing_views=2), 'remove `model.test_cfg.max_testing_views`'),
    (dict(), 'no batch normalisation.*remove `model.test_cfg.batch_stat'),
])
def test_batch_statistics_that_cannot_be(settings, message):
    with pytest.raises(ValueError, match=message):
        model = build(
            None, test_cfg=dict(batch_statistics=True, **settings)).eval()
        model(torch.randn(1, 1, 3, 4, 32, 32))


class CountingBackend:
    """Compiler that runs graphs as they are and counts them."""

    def __init__(self):
        self.graphs = 0

    def __call__(self, graph, inputs):
        self.graphs += 1
        return graph.forward


@pytest.mark.parametrize('temporal, bf16', [
    (TOKEN, False),
    (RELEASED, True),
    (SHIFT, False),
    (DIVIDED, True),
    (MESSAGE, True),
    (NEIGHBOURS, False),
])
def test_compiles_one_graph_for_training_and_one_for_inference(temporal, bf16):
    torch._dynamo.reset()
    backend = CountingBackend()
    model = build_one_block(temporal, bf16=bf16, compile=dict(backend=backend))
    plain = build_one_block(temporal, bf16=bf16)
    # On a CPU PyTorch convolves fewer than 16 pairs of frames in another way.
    for batch in (8, 6, 9):
        inputs = torch.randn(batch, 1, 3, 4, 32, 32)
        for one in (model, plain):
            torch.manual_seed(0)
            losses = one(inputs, samples([1] * batch), mode='loss')
            one.parse_losses(losses)[0].backward()
    assert backend.graphs == 1
    for own, other in zip(model.parameters(), plain.parameters()):
        torch.testing.assert_close(own.grad, other.grad)

    model.eval(), plain.eval()
    sizes = []
    model.backbone.register_forward_pre_hook(
        lambda module, args: sizes.append(len(args[0])))
    for batch in (2, 1, 3):
        inputs = torch.randn(batch, 3, 3, 4, 32, 32)
        with torch.no_grad():
            results, expected = (
                one(inputs, samples([0] * batch), mode='predict')
                for one in (model, plain))
        for own, other in zip(results, expected):
            torch.testing.assert_close(own.pred_score, other.pred_score)
    assert sizes == [6, 6, 6, 6]  # The last batch in two parts.
    assert backend.graphs == 2


def test_compiled_temporal_modules_change_nothing(monkeypatch):
    """They share their graphs, also while the disturbance decays."""
    torch._dynamo.reset()
    backend = CountingBackend()
    whole = torch.nn.Module.compile
    monkeypatch.setattr(
        torch.nn.Module, 'compile',
        lambda self, **kwargs: whole(self, backend=backend, **kwargs))
    model, plain = build(compile='temporal'), build()
    inputs = torch.randn(2, 1, 3, 4, 32, 32)
    graphs = []
    for scale in (1., 0.5, 0.25, 0.125):
        for one in (model, plain):
            one.backbone.set_disturbance_scale(scale)
            torch.manual_seed(0)
            losses = one(inputs, samples([1, 3]), mode='loss')
            one.zero_grad()
            one.parse_losses(losses)[0].backward()
        for own, other in zip(model.parameters(), plain.parameters()):
            torch.testing.assert_close(own.grad, other.grad)
        graphs.append(backend.graphs)
    assert 0 < graphs[1] == graphs[-1]


def test_unknown_part_to_compile_is_refused():
    with pytest.raises(ValueError, match='fix `model.compile`'):
        build(compile='neck')


def test_compiled_recomputation_changes_nothing():
    plain = build_one_block()
    model = build_one_block(
        backbone=dict(with_cp=True), compile=dict(backend='aot_eager'))
    inputs = torch.randn(2, 1, 3, 4, 32, 32)
    for one in (model, plain):
        torch.manual_seed(0)
        losses = one(inputs, samples([1, 3]), mode='loss')
        one.parse_losses(losses)[0].backward()
    for own, other in zip(model.parameters(), plain.parameters()):
        torch.testing.assert_close(own.grad, other.grad)
    # The running statistics are updated once.
    for own, other in zip(model.buffers(), plain.buffers()):
        torch.testing.assert_close(own, other)


def test_outputs_may_be_overwritten_by_the_next_run(monkeypatch):
    """As those of CUDA graphs, also of one view after the other."""
    model = build_one_block(
        RELEASED, test_cfg=dict(batch_statistics=True)).eval()
    inputs = torch.randn(2, 2, 3, 4, 32, 32)
    run, memory = model.backbone.forward, []

    def overwrite(*args, **kwargs):
        features = run(*args, **kwargs)
        memory.append(features.patches)
        return features._replace(patches=memory[0].copy_(memory[-1]))

    def get_patches():
        return model.extract_feat(inputs, test_mode=True)[0][1].clone()

    with torch.no_grad():
        expected = get_patches()
        monkeypatch.setattr(model.backbone, 'forward', overwrite)
        assert not torch.allclose(get_patches(), expected)
        model.compiled = True
        torch.testing.assert_close(get_patches(), expected)


def test_compiled_models_are_copied():
    torch._dynamo.reset()
    backend = CountingBackend()
    model = build(compile=dict(backend=backend)).eval()
    copied = copy.deepcopy(model)
    inputs = torch.randn(1, 1, 3, 4, 32, 32)
    with torch.no_grad():
        before = model(inputs)['logits']
        for parameter in model.backbone.parameters():
            parameter.mul_(1.5)
        after, unchanged = model(inputs)['logits'], copied(inputs)['logits']
    torch.testing.assert_close(unchanged, before)
    assert not torch.allclose(after, before)


@pytest.mark.parametrize('temporal', ALIGNMENTS)
def test_bf16_stays_close_and_ends_in_single_precision(temporal):
    model, plain = build(temporal, bf16=True).eval(), build(temporal).eval()
    inputs = torch.randn(2, 2, 3, 4, 32, 32)
    types = []
    model.backbone.image.blocks[0].attn.qkv.register_forward_hook(
        lambda module, args, output: types.append(output.dtype))
    with torch.no_grad():
        feats, _ = model.extract_feat(inputs, test_mode=True)
        own, other = model(inputs)['logits'], plain(inputs)['logits']
    assert types[0] == torch.bfloat16
    assert all(part.dtype == torch.float32 for part in feats)
    assert not torch.equal(own, other)
    torch.testing.assert_close(
        own, other, rtol=0, atol=2e-2 * other.abs().max().item())


@pytest.mark.parametrize('temporal', ALIGNMENTS)
def test_prediction_computes_no_alignment_loss(temporal, monkeypatch):
    model = build(temporal).eval()
    calls = []
    monkeypatch.setattr(ImplicitAlignment, 'loss', calls.append)
    with torch.no_grad():
        model(torch.randn(1, 1, 3, 4, 32, 32), samples([0]), mode='predict')
    assert not calls


def test_frames_of_one_video_do_not_touch_another():
    model = build().eval()
    inputs = torch.randn(2, 1, 3, 4, 32, 32)
    changed = inputs.clone()
    changed[1] += 1
    with torch.no_grad():
        first, second = model(inputs), model(changed)
    assert torch.equal(first['logits'][0], second['logits'][0])
    assert not torch.equal(first['logits'][1], second['logits'][1])


@pytest.mark.parametrize('temporal', OTHERS)
def test_others_have_no_alignment_loss(temporal):
    model = build(temporal)
    inputs = torch.randn(2, 1, 3, 4, 32, 32)
    losses = model(inputs, samples([1, 3]), mode='loss')
    assert {'loss_cls', 'top1_acc', 'top5_acc'} == set(losses)
    assert {'logits', 'video'} == set(model(inputs))


@torch.no_grad()
def test_without_neck_frames_are_averaged():
    model = build(neck=None).eval()
    inputs = torch.randn(2, 1, 3, 4, 32, 32)
    outputs = model(inputs)
    frames = model.backbone(inputs[:, 0]).frames
    expected = sum(frames[:, t] for t in range(4)) / 4
    torch.testing.assert_close(outputs['video'], expected)
    result, _ = model(inputs, samples([0, 1]), mode='predict')
    torch.testing.assert_close(result.pred_score,
                               outputs['logits'][0].softmax(-1))


def order_matters(temporal, **kwargs):
    """Relative difference of a video's logits in two orders of its frames."""
    model = build(temporal, **kwargs).eval()
    for name, parameter in model.named_parameters():
        # Some start from zero or close to it.
        if is_temporal(name) or name == 'neck.pos_embed':
            torch.nn.init.normal_(parameter, std=0.2)
    video = torch.randn(1, 4, 3, 32, 32)
    with torch.no_grad():
        # No reversal, which an average of neighbours does not notice.
        first, second = (
            model(video[:, order])['logits']
            for order in ([0, 1, 2, 3], [1, 3, 0, 2]))
    return ((first - second).abs().max() / first.abs().max()).item()


@pytest.mark.parametrize('temporal', [*ALIGNMENTS, *OTHERS])
def test_order_of_frames_matters_with_neck(temporal):
    assert order_matters(temporal) > 1e-3


@pytest.mark.parametrize('temporal', [*ALIGNMENTS, *OTHERS])
def test_order_of_frames_matters_without_neck(temporal):
    difference = order_matters(temporal, neck=None)
    # Messages of X-CLIP have no positions: there the neck alone knows them.
    if temporal in (None, MESSAGE):
        assert difference < 1e-5
    else:
        assert difference > 1e-3


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r'got \(1, 3, 4, 32, 32\)'):
        build()(torch.randn(1, 3, 4, 32, 32))


@pytest.mark.parametrize(
    'duplicate',
    [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_check_their_own_weights(duplicate):
    # EMAHook copies the model, spawned processes pickle it.
    model = build()
    other = duplicate(model)
    model.backbone.image.model.pos_embed = None
    other.load_state_dict(build().state_dict())
    with pytest.raises(
            ValueError, match='fix `model.backbone.temporal.type=.Rel'):
        other.load_state_dict(build(RELEASED).state_dict())


@pytest.mark.parametrize('change, message', [
    ({
        'cls_head.in_channels': 24
    }, 'gives 16 channels.*in_channels` is 24'),
    ({
        'neck.embed_dims': 24
    }, '`model.neck.embed_dims` is 24; set it to 16'),
    ({
        'test_cfg.views': 2
    }, r"test_cfg` has no \['views'\]"),
    ({
        'backbone': dict(type='ResNet', depth=18, _delete_=True)
    }, 'ResNet is no'),
])
def test_parts_that_do_not_fit(change, message):
    cfg = tiny_config()
    cfg.merge_from_dict({
        f'model.{key}': value
        for key, value in change.items()
    })
    with pytest.raises(ValueError, match=message):
        MODELS.build(cfg.model)
