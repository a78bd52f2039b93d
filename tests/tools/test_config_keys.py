"""Keys that nothing reads are refused, those of the docs are not."""
from argparse import Namespace

import pytest
from commands import ROOT
from mmengine.config import Config

from projects.ila import cli

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


@pytest.mark.parametrize('option, words', [
    ('custom_hooks.9.type=EMAHook', 'exceeds the length'),
    ('model.backbone.arch.embed_dims=3', 'cannot inherit'),
])
def test_impossible_settings(option, words):
    with pytest.raises(SystemExit, match=f'--cfg-options: .*{words}'):
        load(option)


def test_known_settings():
    load('model.bf16=True', 'model.compile.backend=eager',
         'model.backbone.with_cp=True', 'model.backbone.temporal.target=first',
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
])
def test_keys_within_files(tmp_path, text, words):
    config = tmp_path / 'config.py'
    config.write_text(f"_base_ = '{CONFIG}'\n{text}")
    with pytest.raises(SystemExit) as caught:
        load(config=config)
    assert words in str(caught.value)
    load(config=config, allow=True)
