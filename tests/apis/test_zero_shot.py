"""CLIP without training: predictions and embeddings are open_clip's."""
import warnings

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from mmengine.dataset import pseudo_collate
from tiny import NAMES, TEXT_HEAD, save_weights, tiny_config
from torchvision.transforms.functional import normalize
from videos import write_video

from mmaction.registry import MODELS
from projects.ila.apis import ILAInferencer
from projects.ila.apis.loading import find_config
from projects.ila.weights import convert_to_ila, remote_file

QUERIES = ['riding a bike', 'playing guitar', 'a cat']


@pytest.fixture(scope='module')
def clip():
    """A small CLIP with OpenAI's activation."""
    torch.manual_seed(0)
    return open_clip.model.CLIP(
        embed_dim=64,
        vision_cfg=dict(image_size=64, layers=2, width=128, patch_size=16),
        text_cfg=dict(width=64, heads=1, layers=1),
        quick_gelu=True).eval()


@pytest.fixture(scope='module')
def folder(tmp_path_factory, clip):
    folder = tmp_path_factory.mktemp('zero_shot')
    torch.save(clip.state_dict(), folder / 'clip.pt')
    for number, frames in enumerate((12, 30)):
        write_video(folder / f'{number}.mp4', frames, (80, 64))
    return folder


def shrink(cfg):
    """Give a config of ViT-B/16 the sizes of the small CLIP."""
    cfg.model.backbone.update(
        img_size=64,
        arch=dict(
            embed_dims=128,
            num_layers=2,
            num_heads=2,
            feedforward_channels=512,
            patch_size=16,
            out_channels=64))
    if cfg.model.neck:
        cfg.model.neck.embed_dims = 64
    cfg.model.cls_head.update(
        in_channels=64,
        patch_channels=128,
        class_names=QUERIES,
        text_encoder=dict(layers=1))
    for step in cfg.test_dataloader.dataset.pipeline:
        if 'scale' in step:
            step.scale = (-1, 64)
        if 'crop_size' in step:
            step.crop_size = 64
    return cfg


@pytest.fixture(scope='module')
def inferencer(folder):
    """The weights are those that the config names."""
    asked = []

    def download(*names):
        asked.append(names)
        return str(folder / 'clip.pt')

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setattr(remote_file, '_fetch_from_hub', download)
        warnings.filterwarnings('error', '.*untrained')
        inferencer = ILAInferencer(
            shrink(find_config('clip_vitb16_zeroshot')), device='cpu')
    cfg = open_clip.get_pretrained_cfg('ViT-B-16-quickgelu', 'openai')
    assert [repository + '/' for repository, *_ in asked] == [cfg['hf_hub']]
    return inferencer


@torch.no_grad()
def embed(clip, inferencer, path):
    """Average the features of the frames that the pipeline gives."""
    sample = inferencer.pipeline(
        dict(filename=str(path), start_index=0, modality='RGB'))
    frames = sample['inputs'][0].transpose(0, 1) / 255
    assert frames.shape == (8, 3, 64, 64)
    frames = normalize(frames, open_clip.OPENAI_DATASET_MEAN,
                       open_clip.OPENAI_DATASET_STD)
    return F.normalize(clip.encode_image(frames).mean(0), dim=-1)


@torch.no_grad()
def build_classifier(clip, inferencer):
    templates = [
        template.format for template in inferencer.model.cls_head.templates
    ]
    assert len(templates) > 1
    return open_clip.build_zero_shot_classifier(clip, open_clip.tokenize,
                                                QUERIES, templates)


def test_scores_and_embeddings_are_those_of_open_clip(clip, folder,
                                                      inferencer):
    paths = [folder / '0.mp4', folder / '1.mp4']
    videos = torch.stack([embed(clip, inferencer, path) for path in paths])
    texts = build_classifier(clip, inferencer)
    assert texts.shape == (64, 3)
    expected = clip.logit_scale.exp() * videos @ texts
    assert (expected[0] - expected[1]).abs().max() > 1e-3

    result = inferencer([*paths, folder / 'none.mp4'], topk=3, batch_size=2)
    assert len(result['errors']) == 1
    for prediction, logits in zip(result['predictions'], expected):
        for best in prediction['topk']:
            assert best['name'] == QUERIES[best['label']]
            assert best['score'] == pytest.approx(
                logits.softmax(0)[best['label']].item(), abs=1e-5)

    found = inferencer.embed([*paths, folder / 'none.mp4'], batch_size=2)
    assert found['files'] == [str(path) for path in paths]
    assert found['errors'] == result['errors']
    np.testing.assert_allclose(found['embeddings'], videos, atol=1e-5)
    np.testing.assert_allclose(
        inferencer.embed_text(QUERIES), texts.T, atol=1e-5)
    one = inferencer.embed_text(QUERIES[1])
    np.testing.assert_allclose(one, texts.T[1:2], atol=1e-5)


def test_full_size_is_that_of_the_named_weights():
    cfg = find_config('clip_vitb16_zeroshot')
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
        expected = open_clip.model.CLIP(
            **open_clip.get_model_config('ViT-B-16-quickgelu'))
    own = model.state_dict()
    weights = convert_to_ila(expected.state_dict())
    assert own.keys() - weights.keys() <= {
        f'data_preprocessor.{name}'
        for name in ('mean', 'std')
    }
    assert {
        name: own[name].shape
        for name in weights
    } == {
        name: value.shape
        for name, value in weights.items()
    }
    for name, value in (('mean', open_clip.OPENAI_DATASET_MEAN),
                        ('std', open_clip.OPENAI_DATASET_STD)):
        found = np.array(cfg.model.data_preprocessor[name]) / 255
        np.testing.assert_allclose(found, value, atol=1e-5)


def test_encoders_of_the_model(clip, folder, inferencer):
    """Videos with frames or channels first, and several views."""
    torch.manual_seed(0)
    model, views = inferencer.model, torch.randn(2, 3, 3, 4, 64, 64)
    frames = views.transpose(2, 3)
    with torch.no_grad():
        features = clip.encode_image(frames.flatten(0, 2))
    features = F.normalize(features.unflatten(0, (2, 3, 4)).mean(2), dim=-1)
    expected = F.normalize(features.mean(1), dim=-1)
    found = model.encode_video(views)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(
        model.encode_video(frames[:, 0]), features[:, 0], rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match='expected videos'):
        model.encode_video(views[0, 0])


def test_clip_in_a_model_with_an_alignment_warns(clip, folder, capsys):
    with pytest.warns(UserWarning) as caught:
        inferencer = ILAInferencer(
            shrink(find_config('ila_vitb16_k400')), folder / 'clip.pt', 'cpu')
    assert 'init_weights' not in capsys.readouterr().out
    messages = [str(x.message) for x in caught if 'untrained' in str(x)]
    assert len(messages) == 1
    assert 'clip.pt: ' in messages[0]
    assert 'alignment, neck, head of this model are untrained' in messages[0]
    model = inferencer.model
    torch.testing.assert_close(model.backbone.image.proj.weight,
                               clip.visual.proj.t())
    # As a training begins, not as PyTorch leaves layers.
    assert (model.cls_head.prompt.alpha == 1e-4).all()
    assert len(inferencer(folder / '0.mp4')['predictions'][0]['topk']) == 3


def test_models_without_a_text_tower(folder, tmp_path):
    """Their videos have embeddings, texts have none."""
    save_weights(tiny_config(), tmp_path / 'linear.pth')
    linear = ILAInferencer(tiny_config(), tmp_path / 'linear.pth')
    found = linear.embed(folder)
    assert found['embeddings'].shape == (2, 16)
    np.testing.assert_allclose(
        np.linalg.norm(found['embeddings'], axis=1), 1, rtol=1e-5)
    # All views of a video count, each with the same weight.
    sample = linear.pipeline(
        dict(filename=found['files'][0], start_index=0, modality='RGB'))
    views = linear.model.data_preprocessor(pseudo_collate([sample]))['inputs']
    parts = torch.cat(
        [linear.model.encode_video(x) for x in views.split(1, 1)])
    assert len(parts) == 6
    np.testing.assert_allclose(
        found['embeddings'][0], F.normalize(parts.mean(0), dim=0), atol=1e-5)

    cfg = tiny_config(**TEXT_HEAD)
    save_weights(cfg, tmp_path / 'text.pth')
    text = ILAInferencer(cfg, tmp_path / 'text.pth')
    assert text.embed_text(NAMES).shape == (3, 16)
    text.model.cls_head.text_encoder = None
    for inferencer in (linear, text):
        with pytest.raises(ValueError, match='text tower'):
            inferencer.embed_text(NAMES)
