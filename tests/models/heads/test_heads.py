import math

import pytest
import torch
from mmengine.runner.checkpoint import get_state_dict

from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample

NAMES = ['turn left', 'turn right', 'grow']


def text_head(**kwargs):
    torch.manual_seed(0)
    cfg = dict(
        type='ILATextHead',
        in_channels=16,
        patch_channels=24,
        class_names=NAMES,
        text_encoder=dict(layers=1),
        prompt=dict(scale=0.1))
    return MODELS.build({**cfg, **kwargs}).eval()


def features(batch):
    torch.manual_seed(1)
    return torch.randn(batch, 16), torch.randn(batch, 4, 6, 24)


def test_text_head_is_scaled_cosine_of_video_and_prompted_text():
    head = text_head()
    video, patches = features(2)
    text = head.text_features
    logits = head((video, patches))
    for i in range(2):
        prompted = text + head.prompt(text, patches[i:i + 1])[0]
        for k in range(3):
            cosine = video[i] @ prompted[k] / (
                video[i].norm() * prompted[k].norm())
            assert logits[i, k].item() == pytest.approx(
                cosine.item() / 0.07, abs=1e-4)


@pytest.mark.parametrize('settings', [
    dict(prompt=dict(scale=0.)),
    dict(prompt=None, patch_channels=None, freeze_prompt=True),
])
def test_without_prompts_it_is_zero_shot_clip(settings):
    head = text_head(**settings)
    video, patches = features(2)
    cosine = torch.cosine_similarity(video[:, None], head.text_features, -1)
    torch.testing.assert_close(head((video, patches)), cosine / 0.07)


def test_prompts_need_patches():
    with pytest.raises(ValueError, match='set `model.cls_head.patch_channels'):
        text_head(patch_channels=None)


def test_prompt_equals_loops():
    torch.manual_seed(0)
    prompt = text_head().prompt
    text, patches = torch.randn(3, 16), torch.randn(2, 4, 6, 24)
    out = prompt(text, patches)
    for b in range(2):
        visual = torch.stack([
            torch.stack([
                prompt.patch_proj(prompt.patch_ln(patches[b, t, p]))
                for t in range(4)
            ]).mean(0) for p in range(6)
        ])
        visual, query = prompt.ln(visual), text
        for layer in prompt.layers:
            attn = layer.cross_attn
            weights = attn.q(layer.ln1(query)) @ attn.k(visual).T / 4
            query = query + attn.proj(weights.softmax(-1) @ attn.v(visual))
            hidden = layer.ffn.layers[0][0](layer.ln2(query))
            query = query + layer.ffn.layers[1](
                hidden * torch.sigmoid(1.702 * hidden))
        torch.testing.assert_close(out[b], prompt.alpha * query)


def count_encodings(head):
    calls = []
    head.text_encoder.tower.transformer.register_forward_hook(
        lambda *args: calls.append(1))
    return calls


def test_text_features_are_computed_once_per_weights():
    head, other = text_head(), text_head()
    torch.nn.init.normal_(other.text_encoder.tower.text_projection)
    calls = count_encodings(head)
    head(features(2)), head(features(2))
    assert len(calls) == 1
    head.load_state_dict(other.state_dict())
    assert torch.equal(head.text_features, other.text_features)
    assert len(calls) == 2


def test_text_features_of_inference_mode_serve_training():
    head = text_head()
    inputs = features(2)
    with torch.inference_mode():
        expected = head(inputs)
    logits = head.train()(inputs)
    torch.testing.assert_close(logits, expected)
    logits.sum().backward()
    assert head.prompt.alpha.grad is not None


@pytest.mark.parametrize(
    'get_state',
    [
        lambda head: head.state_dict(),
        get_state_dict,  # As the Runner saves.
    ])
def test_saved_text_features_need_no_tower(get_state):
    head = text_head()
    expected = head(features(2))
    state = get_state(head)

    same = text_head()
    calls = count_encodings(same)
    same.load_state_dict(state)
    assert torch.equal(same(features(2)), expected)
    assert calls == []

    small = text_head(text_encoder=None)
    assert not any('text_encoder' in name for name in small.state_dict())
    small.load_state_dict(state)
    assert torch.equal(small(features(2)), expected)
    smaller = text_head(text_encoder=None)
    smaller.load_state_dict(small.state_dict())
    assert torch.equal(smaller(features(2)), expected)


def test_without_tower_and_features_nothing_is_classified():
    head = text_head(text_encoder=None)
    with pytest.raises(ValueError, match='neither a text tower nor'):
        head(features(2))
    with pytest.raises(ValueError, match=r'of 0 texts \(none\), not of the 3'):
        head.load_state_dict(head.state_dict())


@pytest.mark.parametrize('name, value, message', [
    ('text_features', torch.ones(5, 16), r"are \(5, 16\), not \(3, 16\)"),
    ('texts', torch.ones(2, 2), "'texts' of the weights are no texts"),
    ('texts', torch.tensor([300]), "'texts' of the weights are no texts"),
])
def test_odd_features_are_refused(name, value, message):
    head = text_head()
    head(features(1))
    state = {**head.state_dict(), name: value}
    with pytest.raises(ValueError, match=message):
        head.load_state_dict(state)


def test_classes_can_be_swapped_where_there_is_a_tower():
    head = text_head()
    head(features(2))
    swapped = text_head(class_names=['grow', 'shrink'])
    swapped.load_state_dict(head.state_dict())
    assert swapped(features(2)).shape == (2, 2)
    # The common class keeps its text.
    torch.testing.assert_close(swapped.text_features[0], head.text_features[2])
    with pytest.raises(
            ValueError,
            match=r'3 texts \(turn left, turn right\), '
            r'not of the 2 of `model.cls_head` \(grow, shrink\)'):
        text_head(
            class_names=['grow', 'shrink'],
            text_encoder=None).load_state_dict(head.state_dict())


def test_text_features_do_not_change_the_number_of_buffers():
    """A model's average is updated buffer by buffer."""
    head = text_head()
    before = len(list(head.buffers()))
    head(features(2))
    assert len(list(head.buffers())) == before


def test_templates_are_averaged_as_directions():
    templates = ['a video of {}.', '{}', 'someone doing {}']
    single = [text_head(templates=t).text_features for t in templates]
    head = text_head(templates=templates)
    assert head.tokens.shape == (9, 77)
    assert head.texts[:4] == [
        'a video of turn left.', 'turn left', 'someone doing turn left',
        'a video of turn right.'
    ]
    for k in range(3):
        unit = sum(s[k] / s[k].norm() for s in single)
        torch.testing.assert_close(
            torch.cosine_similarity(head.text_features[k], unit, dim=0),
            torch.tensor(1.))
        length = sum(s[k].norm() for s in single) / 3
        torch.testing.assert_close(head.text_features[k].norm(), length)


def test_text_tower_is_frozen_and_learns_no_gradient():
    head = text_head().train()
    head(features(2)).sum().backward()
    for name, parameter in head.named_parameters():
        frozen = name.startswith('text_encoder')
        assert parameter.requires_grad != frozen, name
        assert (parameter.grad is None) == frozen, name


def test_text_encoder_ignores_what_follows_the_text():
    """The whole tower of open_clip on all 77 tokens gives the same."""
    encoder = text_head().text_encoder
    tokens = encoder.tokenize(NAMES)
    assert tokens.shape == (3, 77)
    torch.testing.assert_close(encoder(tokens), encoder.tower(tokens))


@pytest.mark.parametrize('length, fits', [(75, True), (76, False)])
def test_too_long_texts_are_named(length, fits):
    encoder = text_head().text_encoder
    text = ' '.join(['run'] * length)
    if fits:
        # Between the start and the end of the text.
        assert (encoder.tokenize([text]) != 0).all()
        return
    with pytest.raises(ValueError, match='run run.* has more than the 77'):
        encoder.tokenize(['jump', text])


def test_number_of_classes_is_that_of_the_names():
    assert text_head().num_classes == 3


def test_number_of_class_names_must_fit():
    with pytest.raises(ValueError, match='are 3 .* `num_classes` is 4'):
        text_head(num_classes=4)


def test_linear_head_closed_form():
    torch.manual_seed(0)
    head = MODELS.build(
        dict(type='ILALinearHead', num_classes=5, in_channels=16)).eval()
    head.init_weights()
    torch.nn.init.normal_(head.ln.weight)
    torch.nn.init.normal_(head.ln.bias)
    video = torch.randn(3, 16)
    unit = video / video.norm(dim=1, keepdim=True)
    centred = unit - unit.mean(1, keepdim=True)
    normed = centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt()
    expected = (normed * head.ln.weight + head.ln.bias) @ head.fc.weight.T
    torch.testing.assert_close(head((video, None)), expected + head.fc.bias)


@pytest.mark.parametrize('build', [
    text_head, lambda: MODELS.build(
        dict(type='ILALinearHead', num_classes=3, in_channels=16)).eval()
])
def test_views_are_averaged_as_probabilities(build):
    head = build()
    feats = features(2 * 4)
    samples = head.predict(feats, [ActionDataSample() for _ in range(2)])
    scores = head(feats).softmax(-1)
    for i, sample in enumerate(samples):
        expected = scores[4 * i:4 * i + 4].mean(0)
        torch.testing.assert_close(sample.pred_score, expected)
        assert sample.pred_label.item() == expected.argmax()
        assert math.isclose(sample.pred_score.sum().item(), 1, rel_tol=1e-5)


def test_loss_and_scores_of_several_labels():
    """By the closed forms; what the loss is decides what scores are."""
    cfg = dict(type='ILALinearHead', num_classes=3, in_channels=16)
    labels = torch.tensor([[1., 0., 1.], [0., 0., 0.]])
    samples = [ActionDataSample().set_gt_label(x) for x in labels]
    sigmoids = dict(type='BCELossWithLogits')
    for options in (dict(multi_class=True), dict(loss_cls=sigmoids)):
        head = MODELS.build({**cfg, **options}).eval()
        logits = head(features(2))
        p = 1 / (1 + (-logits).exp())
        loss = head.loss(features(2), samples)['loss_cls']
        expected = labels * p.log() + (1 - labels) * (1 - p).log()
        torch.testing.assert_close(loss, -expected.mean())
        torch.testing.assert_close(head.average_clip(logits, 2)[0], p.mean(0))
    exponents = logits.exp()
    head = MODELS.build({**cfg, 'loss_cls': sigmoids, 'multi_class': False})
    torch.testing.assert_close(
        head.average_clip(logits, 2)[0],
        (exponents / exponents.sum(1, keepdim=True)).mean(0))
    with pytest.raises(ValueError, match='use .BCELossWithLogits'):
        MODELS.build({
            **cfg, 'multi_class': True,
            'loss_cls': dict(type='CrossEntropyLoss')
        })


@pytest.mark.parametrize('classes, dtype', [(1, torch.float32),
                                            (3, torch.int64)])
def test_loss_of_a_single_class_and_of_integers(classes, dtype):
    """As a blending gives those that it does not blend."""
    head = MODELS.build(
        dict(
            type='ILALinearHead',
            num_classes=classes,
            in_channels=16,
            multi_class=True,
            label_smooth_eps=0.2)).eval()
    labels = torch.eye(3)[:2, :classes]
    samples = [ActionDataSample().set_gt_label(x.to(dtype)) for x in labels]
    p = head(features(2)).sigmoid()
    labels = 0.8 * labels + 0.2 / classes
    expected = labels * p.log() + (1 - labels) * (1 - p).log()
    torch.testing.assert_close(
        head.loss(features(2), samples)['loss_cls'], -expected.mean())


def test_balanced_focal_loss_takes_one_label():
    """Its scores are sigmoids."""
    head = MODELS.build(
        dict(
            type='ILALinearHead',
            num_classes=3,
            in_channels=16,
            loss_cls=dict(type='CBFocalLoss', samples_per_cls=[5, 2,
                                                               1]))).eval()
    samples = [ActionDataSample().set_gt_label(x) for x in (2, 0)]
    logits = head(features(2))
    losses = head.loss(features(2), samples)
    assert losses['loss_cls'] == head.loss_cls(logits, torch.tensor([2, 0]))
    torch.testing.assert_close(
        head.average_clip(logits),
        logits.sigmoid()[:, None].mean(1))


@pytest.mark.parametrize('settings, message', [
    (dict(label_smooth_eps=1.), 'label_smooth_eps` must be from 0 to less'),
    (dict(label_smooth_eps=-0.1), 'label_smooth_eps` must be from 0 to less'),
    (dict(loss_cls=dict(type='CrossEntropyLoss', class_weight=[1., 2.])),
     'class_weight` has 2 numbers for 3 classes'),
    (dict(loss_cls=dict(type='CBFocalLoss', samples_per_cls=[5, 2])),
     'samples_per_cls` has 2 numbers for 3 classes'),
    (dict(
        loss_cls=dict(
            type='HVULoss',
            categories=('a', ),
            category_nums=(3, ),
            category_loss_weights=(1, ))), 'HVULoss needs masks'),
])
def test_bad_settings_of_the_loss(settings, message):
    with pytest.raises(ValueError, match=message):
        text_head(**settings)


def test_lists_of_topk():
    """As the command line gives them."""
    assert text_head(topk=[1, 2]).topk == (1, 2)
    assert text_head(topk=2).topk == (2, )


@pytest.mark.parametrize('names',
                         [['Run', 'run'], ['turn  left', 'turn left']])
def test_names_that_are_the_same_to_clip(names):
    with pytest.raises(ValueError, match=f"'{names[0]}' and '{names[1]}' are"):
        text_head(class_names=names)
    head = text_head()
    with pytest.raises(ValueError, match='are the same to CLIP'):
        head.set_class_names(names)
    assert head.class_names == NAMES


@pytest.mark.parametrize('names', ['turn left', [], [''], [1], ['a', 'a']])
def test_bad_class_names(names):
    with pytest.raises(ValueError, match='class.name'):
        text_head().set_class_names(names)
