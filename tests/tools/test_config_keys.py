"""Keys that nothing reads are refused, those of the docs are not."""
import logging
from argparse import Namespace

import pytest
import torch
from commands import ROOT
from mmengine.config import Config

from projects.ila import cli
from projects.ila.utils import paramwise_keys

CONFIG = ROOT / 'configs/ila_vitb16_k400.py'


def load(*options, config=CONFIG, allow=False):
    return cli.load_config(
        Namespace(
            config=str(config),
            cfg_options=[*options] or None,
            allow_new_keys=allow))


@pytest.mark.parametrize('option, nearest', [
    ('modle.bf16=True', 'model'),
    ('loadfrom=a.pth', 'load_from'),
    ('model.bf61=True', 'bf16'),
    ('model.backbone.wiht_cp=True', 'with_cp'),
    ('model.backbone.form=token', 'temporal'),
    ('model.backbone.freeze_clip=True', 'freeze_image'),
    ('model.backbone.temporal_layers=[0]', 'layers'),
    ('optim_wrapper.clip_gard.max_norm=1', 'clip_grad'),
    ('optim_wrapper.optimizer.lrr=1', 'lr'),
    ('param_scheduler.0.edn=3', 'end'),
    ('train_cfg.max_epoch=1', 'max_epochs'),
    ('train_dataloader.batchsize=1', 'batch_size'),
    ('train_dataloader.dataset.onerror=skip', 'on_error'),
    ('train_dataloader.dataset.data_prefix.vdeo=a', 'video'),
    ('test_dataloader.dataset.pipeline.1.clip_length=3', 'clip_len'),
    ('default_hooks.chekpoint.interval=1', 'checkpoint'),
    ('custom_hooks.0.beginn=0.5', 'begin'),
    ('randomness.sed=1', 'seed'),
])
def test_unknown_settings(option, nearest):
    with pytest.raises(SystemExit) as caught:
        load(option)
    message = str(caught.value)
    assert f"'{option.split('=')[0]}'" in message
    assert f"did you mean '{nearest}'?" in message
    assert '--allow-new-keys' in message
    load(option, allow=True)


@pytest.mark.parametrize(
    'option', ['num_frames=4', "data_root='a/'", 'train_pipeline=[1,2]'])
def test_variables_of_the_file(option):
    """The file has put them where they are read."""
    with pytest.raises(SystemExit, match='only the config file itself reads'):
        load(option)
    load(option, allow=True)


@pytest.mark.parametrize('option, words', [
    ('custom_hooks.9.type=EMAHook', 'exceeds the length'),
    ('model.backbone.arch.embed_dims=3', 'cannot inherit'),
    ('model.data_preprocessor.std.1=2',
     'set all of it, not model.data_preprocessor.std.1$'),
    ('train_dataloader.dataset.pipeline.0=2',
     'set all of it, not train_dataloader.dataset.pipeline.0$'),
])
def test_impossible_settings(option, words):
    with pytest.raises(SystemExit, match=f'--cfg-options: .*{words}'):
        load(option)


@pytest.mark.parametrize('option, words', [
    ('model=3', '`model` must be a dict, got 3'),
    ('model.backbone=3', '`model.backbone` must be a dict, got 3'),
    ('model.type=3', '`model.type` must be the name of a class, got 3'),
    ('model.neck=mit', "`model.neck` must be a dict, got 'mit'"),
    ('model.cls_head.num_classes=x', "num_classes` must be a number, got 'x'"),
    ('custom_hooks=3', '`custom_hooks` must be a list, got 3'),
    ('train_cfg.max_epochs=x', "`train_cfg.max_epochs` must be a number"),
    ('work_dir=3', '`work_dir` must be a text, got 3'),
    ('val_evaluator.type=AccMetrik', "did you mean 'AccMetric'"),
    ('model.type=Q', "there is no 'Q'; fix its name"),
    ('optim_wrapper.optimizer.type=Adamw', "did you mean 'AdamW'?"),
    ('optim_wrapper.paramwise_cfg.bias.lr_mul=2', "'lr_mul' for 'bias'"),
])
def test_values_that_cannot_be(option, words):
    with pytest.raises(SystemExit) as caught:
        load(option)
    assert words in str(caught.value)


@pytest.mark.parametrize('value', ['{a:1,b:2}', 'dict(a=1)'])
def test_dicts_are_set_by_their_keys(value):
    with pytest.raises(SystemExit, match='model.backbone.arch.KEY=VALUE'):
        load(f'model.backbone.arch={value}')


def test_known_settings():
    load('model.bf16=True', 'model.backbone.drop_path_rate=0',
         'model.cls_head.class_names=[a,b]', 'default_hooks.logger=None',
         'model.compile.backend=eager', 'model.backbone.with_cp=True',
         'model.backbone.temporal.target=first',
         'model.test_cfg.max_testing_views=12', 'model.neck=None',
         'optim_wrapper.clip_grad.max_norm=1',
         'optim_wrapper.optimizer.amsgrad=1', 'load_from=a.pth', 'work_dir=a',
         'randomness.seed=1', 'sync_bn=torch',
         'train_dataloader.dataset.on_error=skip',
         'train_dataloader.drop_last=True', 'train_cfg.val_begin=3',
         'visualizer.vis_backends.0.type=TensorboardVisBackend')


def test_keys_of_files(tmp_path):
    """Variables of a file's own are fine, keys with a mistake are not."""
    config = tmp_path / 'config.py'
    config.write_text(f"_base_ = '{CONFIG}'\nmy_size = 3\nloadfrom = 'a.pth'")
    with pytest.raises(SystemExit, match=f"{config}.*'loadfrom'.*'load_from'"):
        load(config=config)
    load(config=config, allow=True)
    for path in (ROOT / 'configs').rglob('ila*.py'):
        load(config=path)


def test_imports_of_lazy_configs_are_no_keys(tmp_path):
    config = tmp_path / 'config.py'
    config.write_text('from mmengine import runner\n'
                      'from mmengine.optim import OptimWrapper\n'
                      'optim_wrapper = dict(type=OptimWrapper)\n')
    load(config=config)


def test_settings_of_mmaction2(tmp_path):
    """A text that it annotates as a dict, and keys that are numbers."""
    config = tmp_path / 'config.py'
    config.write_text(
        f"_base_ = '{CONFIG}'\n"
        "model = dict(cls_head=dict(_delete_=True, type='I3DHead', "
        "num_classes=3, in_channels=768, average_clips='prob'))\n"
        "val_pipeline = [dict(type='Flip', flip_label_map={1: 2, 2: 1})]\n"
        'val_dataloader = dict(dataset=dict(pipeline=val_pipeline))')
    load(config=config)


@pytest.mark.parametrize('kind, words', [
    ('AtomicCheckpointHook', "'max_keep'.*'max_keep_ckpts'"),
    ('mmengine.CheckpointHook', " CheckpointHook has no .* 'max_keep'"),
])
def test_hooks_refuse_unknown_arguments(tmp_path, kind, words):
    cfg = Config.fromfile(ROOT / 'tests/data/tiny_motion.py')
    cfg.work_dir, cfg.launcher = str(tmp_path), 'none'
    cfg.default_hooks.checkpoint = dict(type=kind, max_keep=1)
    with pytest.raises(SystemExit, match=words):
        cli.build_runner(cfg)


def test_settings_are_parsed_as_mmengine_does():
    assert cli.parse_options(None) is None
    assert cli.parse_options(['a.b=1', 'c=[1,2]', 'd=1,x', 'e=a=b']) == {
        'a.b': 1,
        'c': [1, 2],
        'd': [1, 'x'],
        'e': 'a=b'
    }
    with pytest.raises(SystemExit, match='--cfg-options: .*bracket'):
        cli.parse_options(['a=[1,(2]'])


@pytest.mark.parametrize('text, words', [
    ("model=dict(backbone=dict(temporal=dict(diference=True)))",
     "`model.backbone.temporal` has no key 'diference'; did you mean"),
    ("train_dataloader=dict(dataset=dict(tims=2))", "'tims'; remove it"),
    ("custom_hooks=[dict(type='EMAHok')]",
     "`custom_hooks.0.type`: there is no 'EMAHok'; did you mean 'EMAHook'"),
    ("env_cfg=dict(cudnn_benchmrk=True)", "'cudnn_benchmark'"),
    ("default_hooks=dict(checkpont=dict(type='CheckpointHook'))",
     "`default_hooks` has no key 'checkpont'; did you mean 'checkpoint'"),
    ("optim_wrapper=dict(constructor='DefaultOptimWrapperConstructor', "
     "paramwise_cfg=dict(_delete_=True, custom_key=dict(a=dict())))",
     "'custom_key'; did you mean 'custom_keys'"),
    ("optim_wrapper=dict(paramwise_cfg=dict(custom_keys=dict(a=dict())))",
     "has no key 'a' for 'custom_keys'; it takes lr_mult and decay_mult"),
    ("optim_wrapper=dict(paramwise_cfg=dict(norm_decay_mult=0.))",
     "must have a dict of lr_mult and decay_mult for 'norm_decay_mult'"),
])
def test_keys_within_files(tmp_path, text, words):
    config = tmp_path / 'config.py'
    config.write_text(f"_base_ = '{CONFIG}'\n{text}")
    with pytest.raises(SystemExit) as caught:
        load(config=config)
    assert words in str(caught.value)
    load(config=config, allow=True)


@pytest.mark.parametrize('constructor', ['SwinOptimWrapperConstructor', None])
def test_names_that_no_parameter_has(monkeypatch, constructor):
    model = torch.nn.ModuleDict(
        dict(temporal=torch.nn.Linear(1, 1), neck=torch.nn.Linear(1, 1)))
    keys = {'.temporal.': {}, '.temporl.': {}, '.other.': {}, 'base.neck': {}}
    cfg = dict(constructor=constructor, paramwise_cfg=keys)
    if constructor is None:
        cfg = dict(paramwise_cfg=dict(custom_keys=keys))
    logged = []
    monkeypatch.setattr(
        paramwise_keys, 'print_log',
        lambda text, level, **kwargs: logged.append((level, text)))
    paramwise_keys.report_unmatched(cfg, model)
    assert logged == [
        (logging.WARNING, '`optim_wrapper.paramwise_cfg`: no parameter of the '
         "model has in its name: '.temporl.', '.other.'. For '.temporl.', did "
         "you mean 'temporal'?")
    ]
    del keys['.temporl.']
    paramwise_keys.report_unmatched(cfg, model)
    level, text = logged[-1]
    assert level == logging.INFO and text.endswith("name: '.other.'")
    del keys['.other.']
    paramwise_keys.report_unmatched(cfg, model)
    assert len(logged) == 2
