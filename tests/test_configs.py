import math
import random
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from videos import moving_noise, write_video

from mmaction.registry import (DATASETS, HOOKS, MODELS, PARAM_SCHEDULERS,
                               TRANSFORMS)
from mmaction.structures import ActionDataSample
from projects.ila.datasets.official_lists import name_lists
from projects.ila.models.images import CLIPImage
from projects.ila.models.recognizers.blending import build_blending
from projects.ila.weights import is_temporal

CONFIGS = Path(__file__).parents[1] / 'configs'
LEAVES = sorted(
    str(path.relative_to(CONFIGS)) for folder in ('.', 'released')
    for path in CONFIGS.joinpath(folder).glob('ila_vit*.py'))
GENERALITY = sorted(
    path.name for path in CONFIGS.joinpath('generality').glob('*_k400.py'))
NUM_CLASSES = dict(
    k400=400,
    k600=600,
    k700=700,
    ssv2=174,
    custom=2,
    ucf101=101,
    hmdb51=51,
    diving48=48,
    jester=27,
    charades=157)
NORMS = (torch.nn.LayerNorm, torch.nn.modules.batchnorm._BatchNorm)


@pytest.fixture
def cfg():
    return Config.fromfile(CONFIGS / 'ila_vitb16_k400.py')


def build_model(model_cfg):
    """Build the network without memory for its weights."""
    model_cfg.pop('data_preprocessor')
    with torch.device('meta'):
        return MODELS.build(model_cfg)


@pytest.fixture
def class_names(tmp_path, monkeypatch):
    """The files of class names that come with other data than Kinetics-400."""
    monkeypatch.chdir(tmp_path)
    for path, number in (('kinetics600/label_map_k600.txt',
                          600), ('kinetics700/label_map_k700.txt',
                                 700), ('custom/class_names.txt',
                                        2), ('ucf101/class_names.txt', 101),
                         ('hmdb51/class_names.txt', 51)):
        file = tmp_path / 'data' / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text('\n'.join(f'class {i}' for i in range(number)))


@pytest.mark.parametrize('name', LEAVES)
def test_parts_fit_together(name, class_names):
    cfg = Config.fromfile(CONFIGS / name)
    # Runner writes a config out, tools read it again.
    again = Config.fromstring(cfg.pretty_text, '.py')
    assert again._cfg_dict == cfg._cfg_dict

    num_classes = NUM_CLASSES[name.rpartition('_')[2][:-3]]
    img_size = cfg.model.backbone.img_size
    for split in ('train', 'val', 'test'):
        pipeline = cfg[f'{split}_dataloader'].dataset.pipeline
        sample, = (step for step in pipeline if step.type == 'UniformSample')
        assert sample.clip_len == cfg.model.neck.num_frames
    # One block and layer fit as all do.
    cfg.model.backbone.arch = dict(
        CLIPImage.arch_zoo[cfg.model.backbone.arch], num_layers=1)
    if cfg.model.cls_head.type == 'ILATextHead':
        cfg.model.cls_head.setdefault('text_encoder', dict())['layers'] = 1
    model = build_model(cfg.model).eval()
    if cfg.model.cls_head.type == 'ILATextHead':
        # The text tower's result, which needs real tokens.
        model.cls_head._text_features = torch.empty(
            num_classes, cfg.model.cls_head.in_channels, device='meta')
    num_frames = cfg.model.neck.num_frames
    frames = torch.empty(
        2, 1, 3, num_frames, img_size, img_size, device='meta')
    assert model(frames)['logits'].shape == (2, num_classes)


def test_sizes():
    found = set()
    for name in LEAVES:
        model = Config.fromfile(CONFIGS / name).model
        stem = model.backbone.temporal.get('predictor',
                                           {}).get('stem', 'separable')
        found.add((name, model.backbone.arch, model.backbone.img_size,
                   model.neck.num_frames, model.backbone.temporal.type,
                   model.cls_head.type, stem))
    # The published rows.
    rows = (
        ('vitb32_k400', 'clip-b/32', 224, 8),
        ('vitb32_16f_k400', 'clip-b/32', 224, 16),
        ('vitb16_k400', 'clip-b/16', 224, 8),
        ('vitb16_16f_k400', 'clip-b/16', 224, 16),
        ('vitl14_k400', 'clip-l/14', 224, 8),
        ('vitl14-336_16f_k400', 'clip-l/14', 336, 16),
        ('vitb16_ssv2', 'clip-b/16', 224, 8),
        ('vitb16_16f_ssv2', 'clip-b/16', 224, 16),
        ('vitb16_32f_ssv2', 'clip-b/16', 224, 32),
        ('vitl14_ssv2', 'clip-l/14', 224, 8),
        ('vitl14-336_16f_ssv2', 'clip-l/14', 336, 16),
    )
    heads = dict(
        k400=('ILATextHead', 'separable'), ssv2=('ILALinearHead', 'dense'))
    expected = {(f'{folder}ila_{name}.py', *sizes, temporal, *heads[name[-4:]])
                for name, *sizes in rows
                for folder, temporal in (('', 'TokenAlignment'),
                                         ('released/', 'ReleasedAlignment'))}
    expected |= {(f'ila_vitb16_{name}.py', 'clip-b/16', 224, 8,
                  'TokenAlignment', 'ILATextHead', 'separable')
                 for name in ('k600', 'k700', 'custom', 'ucf101', 'hmdb51')}
    expected |= {(f'ila_vitb16_{name}.py', 'clip-b/16', 224, frames,
                  'TokenAlignment', 'ILALinearHead', 'dense')
                 for name, frames in (('jester', 8), ('32f_diving48', 32),
                                      ('32f_charades', 32))}
    assert found == expected


@pytest.mark.parametrize(
    'name', ['ila_motion', 'ila_figures', 'gestures/ila_vits14_egogestar'])
def test_processes_expect_parameters_without_gradients(name):
    """Else DistributedDataParallel ends with an error."""
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    backbone = cfg.model.backbone
    if 'image' in backbone:  # Without its weights, which are trained, too.
        backbone.freeze_image = backbone.image.pretrained = False
    model = MODELS.build({**cfg.model, 'data_preprocessor': None}).train()
    clips = torch.randn(2, 1, 3, cfg.num_frames, cfg.crop_size, cfg.crop_size)
    samples = [ActionDataSample().set_gt_label(0) for _ in range(2)]
    sum(model(clips, samples, mode='loss').values()).backward()
    unused = [
        parameter for parameter in model.parameters()
        if parameter.requires_grad and parameter.grad is None
    ]
    assert bool(unused) == cfg.get('find_unused_parameters', False)


@pytest.mark.parametrize('name', GENERALITY)
def test_other_image_models(name):
    cfg = Config.fromfile(CONFIGS / 'generality' / name)
    again = Config.fromstring(cfg.pretty_text, '.py')
    assert again._cfg_dict == cfg._cfg_dict
    preprocessor = cfg.model.data_preprocessor
    erase, = (
        augment for augment in preprocessor.augments
        if augment.get('op') == 'RandomErasing')
    assert tuple(erase.value) == tuple(map(round, preprocessor.mean))

    model = build_model(cfg.model).eval()
    logits = model(torch.empty(2, 1, 3, 8, 224, 224, device='meta'))['logits']
    assert logits.shape == (2, 400)
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    groups = {
        parameter: group
        for group in optimizer.param_groups
        for parameter in group['params']
    }
    for name, parameter in model.named_parameters():
        rate = groups[parameter]['lr'] / 8e-6
        expected = 62.5 if is_temporal(name) else 50.
        if name.startswith('backbone.image.'):
            expected = 1.
        assert rate == pytest.approx(expected), name
        # Normalisations, the layers' scales, biases and positions.
        spared = parameter.dim() == 1 or name == 'neck.pos_embed'
        assert (groups[parameter]['weight_decay'] == 0) == spared, name


@pytest.mark.parametrize(
    'name',
    [name for name in LEAVES if re.search('ssv2|jester|released', name)])
def test_what_mirrors_nothing(name):
    """Where classes have directions, and as the authors train."""
    cfg = Config.fromfile(CONFIGS / name)
    pipeline = cfg.train_dataloader.dataset.pipeline
    expected = Config.fromfile(CONFIGS / 'ila_vitb16_k400.py')
    reading = ('UniformSample', 'SafePyAVInit', 'SafePyAVDecode',
               'RawFrameDecode')
    assert [step.type for step in pipeline if step.type not in reading] == [
        step.type for step in expected.train_pipeline
        if step.type not in (*reading, 'Flip')
    ]


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """A working directory with one video in the place of each data set."""
    root = tmp_path_factory.mktemp('root')
    for name, label in (('kinetics400', 399), ('kinetics600', 599),
                        ('kinetics700', 699), ('sthv2', 173)):
        data = root / 'data' / name
        for split in ('train', 'val'):
            videos = 'videos' if name == 'sthv2' else f'videos_{split}'
            (data / videos).mkdir(parents=True, exist_ok=True)
            write_video(data / videos / 'a.mp4', 40, (320, 240))
            (data /
             f'{name}_{split}_list_videos.txt').write_text(f'a.mp4 {label}')
    custom = root / 'data' / 'custom'
    (custom / 'videos').mkdir(parents=True)
    write_video(custom / 'videos' / 'a.mp4', 40, (320, 240))
    for split in ('train', 'val'):
        (custom / f'{split}.txt').write_text('a.mp4 1')
    make_official(root / 'data', custom / 'videos' / 'a.mp4')
    return root


def make_official(folder, video):
    """Add the data sets whose lists are made of official files."""
    for name, line in (('ucf101', 'a.mp4 100'), ('hmdb51', 'a.mp4 50'),
                       ('diving48', 'a.mp4 47'), ('charades', 'a.mp4 3 156')):
        (folder / name / 'videos').mkdir(parents=True)
        (folder / name / 'videos/a.mp4').symlink_to(video)
        for file in sum(name_lists(name), ()):
            (folder / name / file).write_text(line)
    frames = folder / 'jester/rawframes/1'
    frames.mkdir(parents=True)
    for index, frame in enumerate(moving_noise(12, (160, 100)), 1):
        cv2.imwrite(str(frames / f'{index:05}.jpg'), frame)
    for file in sum(name_lists('jester'), ()):
        (folder / 'jester' / file).write_text('1 12 26')


@pytest.mark.parametrize('name', [
    'vitb16_k400', 'vitb16_16f_k400', 'vitl14-336_16f_k400', 'vitb16_ssv2',
    'vitb16_32f_ssv2', 'vitl14-336_16f_ssv2', 'vitb16_k600', 'vitb16_k700',
    'vitb16_custom', 'vitb16_ucf101', 'vitb16_hmdb51', 'vitb16_32f_diving48',
    'vitb16_32f_charades', 'vitb16_jester'
])
@pytest.mark.parametrize('split, views', [('train', 1), ('val', 1),
                                          ('test', 12)])
def test_pipelines(root, monkeypatch, name, split, views):
    monkeypatch.chdir(root)
    cfg = Config.fromfile(CONFIGS / f'ila_{name}.py')
    size, num_frames = cfg.model.backbone.img_size, cfg.model.neck.num_frames
    sample = DATASETS.build(cfg[f'{split}_dataloader'].dataset)[0]
    assert sample['inputs'].shape == (views, 3, num_frames, size, size)
    assert sample['inputs'].dtype == torch.uint8
    expected = torch.tensor([NUM_CLASSES[name.rpartition('_')[2]] - 1])
    if name == 'vitb16_32f_charades':
        expected = torch.zeros(157)
        expected[[3, 156]] = 1
    torch.testing.assert_close(sample['data_samples'].gt_label, expected)


def test_frames_of_a_clip_are_augmented_alike(cfg):
    """What is drawn at random is drawn once per clip, not once per frame."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    frame = np.random.randint(0, 256, (40, 32, 3), np.uint8)
    drawn = dict()
    for transform_cfg in cfg.train_pipeline[3:-2]:
        transform = TRANSFORMS.build(transform_cfg)
        results = set()
        for _ in range(40):
            imgs = transform(
                dict(
                    imgs=[frame.copy() for _ in range(8)],
                    img_shape=frame.shape[:2],
                    modality='RGB'))['imgs']
            assert all((img == imgs[0]).all() for img in imgs)
            results.add(np.asarray(imgs[0]).tobytes())
        # Distinct results, and whether the frame itself is one of them.
        drawn[transform_cfg.type] = len(results), frame.tobytes() in results
    clip = torch.from_numpy(frame).permute(2, 0, 1)[:, None]
    clips = clip.expand(40, 1, 3, 8, 40, 32)
    for augment_cfg in cfg.model.data_preprocessor.augments:
        augmented = MODELS.build(augment_cfg)(clips)
        assert (augmented == augmented[:, :, :, :1]).all()
        results = {clip.numpy().tobytes() for clip in augmented}
        name = augment_cfg.get('op', augment_cfg.type)
        drawn[name] = len(results), clips[0].numpy().tobytes() in results
    assert drawn.pop('Resize') == (1, False)
    assert drawn['Flip'] == drawn['RandomGrayscale'] == (2, True)
    for name in ('ClipColorJitter', 'RandomErasing'):
        assert drawn[name][0] > 3 and drawn[name][1]
    assert drawn['MultiScaleCrop'][0] > 3
    assert len(drawn) == 5


def test_erased_area_has_the_mean_colour(cfg):
    torch.manual_seed(0)
    erase, = (
        augment for augment in cfg.model.data_preprocessor.augments
        if augment.get('op') == 'RandomErasing')
    erase = MODELS.build(dict(erase, p=1.))
    clips = erase(torch.zeros(2, 1, 3, 8, 40, 32, dtype=torch.uint8))
    colours = np.unique(clips.movedim(2, -1).reshape(-1, 3), axis=0)
    # The mean that is subtracted afterwards, so that little is left of it.
    mean = np.round(cfg.model.data_preprocessor.mean)
    np.testing.assert_array_equal(colours, [[0, 0, 0], mean])


def test_preprocessor(cfg):
    np.random.seed(0)
    settings = cfg.model.data_preprocessor
    preprocessor = MODELS.build(dict(settings, blending=None))
    preprocessor.blending = build_blending(settings.blending, 400)
    inputs = torch.randint(0, 256, (2, 1, 3, 8, 16, 16), dtype=torch.uint8)

    data = dict(
        inputs=list(inputs),
        data_samples=[ActionDataSample().set_gt_label(i) for i in (0, 399)])
    out = preprocessor(data, training=False)['inputs']
    mean = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1, 1)
    std = torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1, 1)
    torch.testing.assert_close(out, (inputs - mean) / std)
    for sample in preprocessor(data, training=True)['data_samples']:
        label = sample.gt_label
        assert label.shape == (400, )
        torch.testing.assert_close(label[0] + label[399], torch.tensor(1.))


# Learning rate and weight decay by the start of a name; None is not trained.
# Norms, biases and the position embedding of the neck have no decay.
CLIP = {
    'backbone.image.model.cls_token': (8e-6, 1e-3),
    'backbone.image.model.pos_embed': (8e-6, 1e-3),
    'backbone.image.model.patch_embed.': (8e-6, 1e-3),
    'backbone.image.model.pre_norm.': (8e-6, 0.),
    'backbone.image.model.ln1.': (8e-6, 0.),
    'backbone.image.proj.': (8e-6, 1e-3),
    'backbone.image.model.layers.#.ln1.': (8e-6, 0.),
    'backbone.image.model.layers.#.attn.': (8e-6, 1e-3),
    'backbone.image.model.layers.#.ln2.': (8e-6, 0.),
    'backbone.image.model.layers.#.ffn.': (8e-6, 1e-3),
}
NEW = {
    'backbone.temporal.#.alignment.': (5e-4, 1e-2),
    'neck.pos_embed': (4e-4, 0.),
    'neck.layers.': (4e-4, 3e-3),
}
RELEASED = {
    **dict.fromkeys(CLIP),
    **NEW,
    'backbone.temporal.#.message_fc.': (5e-4, 1e-2),
    'backbone.temporal.#.message_ln.': (5e-4, 0.),
    'backbone.temporal.#.temporal_conv.': (5e-4, 1e-2),
    'backbone.temporal.#.temporal_fc.': (5e-4, 1e-2),
    'backbone.temporal.#.skip_fc.': (8e-5, 1e-3),
    'backbone.temporal.#.skip_align_fc.': (8e-5, 1e-3),
}
TEXT = {
    'cls_head.prompt.': (8e-5, 1e-3),
    'cls_head.logit_scale': (8e-5, 1e-3),
    'cls_head.text_encoder.': None,
}
LINEAR = {'cls_head.ln.': (4e-4, 0.), 'cls_head.fc.': (4e-4, 3e-3)}
GROUPS = {
    'ila_vitb16_k400': {
        **CLIP,
        **NEW,
        **TEXT
    },
    'ila_vitb16_ssv2': {
        **CLIP,
        **NEW,
        **LINEAR
    },
    'released/ila_vitb16_k400': {
        **RELEASED,
        **dict.fromkeys(TEXT)
    },
    'released/ila_vitb16_ssv2': {
        **RELEASED,
        **LINEAR
    },
}


@pytest.mark.parametrize('name', GROUPS)
@pytest.mark.parametrize('frozen', [None, False, True])
def test_optimizer_groups(name, frozen):
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    table = dict(GROUPS[name])
    if frozen is not None:
        # One key trains CLIP with its rates, or freezes it.
        cfg.model.backbone.freeze_image = frozen
        table.update(dict.fromkeys(CLIP) if frozen else CLIP)
    model = build_model(cfg.model)
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    assert type(optimizer) is torch.optim.AdamW
    groups = {
        parameter: group
        for group in optimizer.param_groups
        for parameter in group['params']
    }
    used = set()
    for prefix, module in model.named_modules():
        for leaf, parameter in module.named_parameters(recurse=False):
            full_name = f'{prefix}.{leaf}'
            row, = (
                row for row in table if re.match(
                    row.replace('.', '\\.').replace('#', r'\d+'), full_name))
            used.add(row)
            assert parameter.requires_grad == (table[row] is not None)
            if table[row] is None:
                continue
            lr, decay = table[row]
            if isinstance(module, NORMS) or 'bias' in leaf:
                decay = 0.
            group = groups[parameter]
            assert (group['lr'], group['weight_decay']) == pytest.approx(
                (lr, decay)), full_name
            assert (group['betas'], group['eps']) == ((0.9, 0.98), 1e-8)
    assert used == table.keys()


def test_batch_size(cfg):
    clips = 8 * cfg.train_dataloader.batch_size
    optim_wrapper = build_optim_wrapper(
        torch.nn.Linear(1, 1), cfg.optim_wrapper)
    assert clips * optim_wrapper._accumulative_counts == 256
    # MMEngine compares this with the GPUs' clips, without accumulation.
    assert cfg.auto_scale_lr == dict(enable=False, base_batch_size=clips)


@pytest.mark.parametrize('name, start, lowest', [
    ('ila_vitb16_k400', 0.01, lambda lr: 0.01 * lr),
    ('ila_vitb16_ssv2', 0.01, lambda lr: 0.01 * lr),
    ('released/ila_vitb16_k400', 0., lambda lr: 8e-8),
    ('released/ila_vitb16_ssv2', 0., lambda lr: 8e-8),
])
def test_schedule(name, start, lowest):
    """Linear over 5 epochs, then a half cosine down to epoch 50."""
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    epoch, rates = 10, [8e-6, 5e-4]
    optimizer = torch.optim.SGD([
        dict(params=[torch.nn.Parameter(torch.zeros(1))], lr=lr)
        for lr in rates
    ])
    schedulers = [
        PARAM_SCHEDULERS.build(
            scheduler,
            default_args=dict(optimizer=optimizer, epoch_length=epoch))
        for scheduler in cfg.param_scheduler
    ]
    assert cfg.train_cfg.max_epochs == 50
    for step in range(50 * epoch):
        if step < 5 * epoch:
            factor = start + (1 - start) * step / (5 * epoch - 1)
            expected = [factor * lr for lr in rates]
        else:
            progress = (step - 5 * epoch) / (45 * epoch)
            factor = (1 + math.cos(math.pi * progress)) / 2
            expected = [
                lowest(lr) + (lr - lowest(lr)) * factor for lr in rates
            ]
        assert [group['lr']
                for group in optimizer.param_groups] == pytest.approx(
                    expected, rel=1e-4, abs=1e-9), step
        optimizer.step()
        for scheduler in schedulers:
            assert not scheduler.by_epoch
            scheduler.step()
    assert factor < 1e-4


def test_hooks(cfg):
    decay, *others = (HOOKS.build(hook) for hook in cfg.custom_hooks)
    assert type(decay).__name__ == 'DisturbanceDecayHook'
    assert (decay.begin, decay.interval, decay.factor) == (0.6, 0.02, 0.5)
    assert [type(hook).__name__ for hook in others] == [
        'ReproducibleResumeHook', 'ResumeCheckHook', 'InvalidLossHook',
        'RunRecordHook', 'PreemptionHook'
    ]
    checkpoint = cfg.default_hooks.checkpoint
    assert checkpoint.type == 'AtomicCheckpointHook'


@pytest.mark.parametrize('name', ['fsdp', 'deepspeed'])
def test_sharded_configs_change_how_to_train_alone(name):
    base = 'ila_vitl14-336_16f_k400'
    cfg = Config.fromfile(CONFIGS / 'sharded' / f'{base}_{name}.py')
    cfg.pop('strategy')
    assert cfg.pop('runner_type') == 'FlexibleRunner'
    assert cfg.model.pop('bf16')
    expected = Config.fromfile(CONFIGS / f'{base}.py')
    # Autocast by the optimizer wrapper would be in the model's way.
    expected.optim_wrapper.dtype = cfg.optim_wrapper.dtype
    assert name == 'deepspeed' or cfg.optim_wrapper.dtype == 'float32'
    assert cfg._cfg_dict == expected._cfg_dict
