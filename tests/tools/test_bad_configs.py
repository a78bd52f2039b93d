"""What cannot be built from a config is told in one line."""
import re

import pytest
from commands import ROOT, run_tool
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import DefaultScope
from videos import write_video

from mmaction.registry import HOOKS
from projects.ila import cli
from projects.ila.apis import load_recognizer


@pytest.fixture(scope='module')
def cfg(tmp_path_factory):
    folder = tmp_path_factory.mktemp('bad')
    for index in range(2):
        write_video(folder / f'{index}.mp4', 8, (32, 32))
    (folder / 'list.txt').write_text('0.mp4 0\n1.mp4 1\n')
    cfg = Config.fromfile(ROOT / 'tests/data/tiny_motion.py')
    cfg.work_dir, cfg.launcher = str(folder / 'run'), 'none'
    cfg.train_dataloader.batch_size = 2
    dataset = cfg.train_dataloader.dataset
    dataset.ann_file = str(folder / 'list.txt')
    dataset.data_prefix = dict(video=str(folder))
    dataset.pipeline[1].clip_len = 4
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    cfg.default_hooks.checkpoint = None
    return cfg


def start(cfg, **settings):
    cfg = Config(cfg.copy()._cfg_dict, filename=cfg.filename)
    cfg.merge_from_dict(settings)
    runner = cli.build_runner(cfg)
    with cli.exit_on_bad_start(runner):
        runner.train()


@pytest.mark.parametrize('key, value, words', [
    ('model.cls_head.num_classes', -1, "'ILALinearHead' .*RuntimeError.*-1"),
    ('model.backbone.arch.embed_dims', 33, '=33 cannot be shared by num_he'),
    ('optim_wrapper.accumulative_counts', 0, "'OptimWrapper' .*Assertion"),
    ('optim_wrapper.type', 'Optim', 'Optim is not in .* registry'),
    ('train_dataloader.dataset.pipeline', 3, "'ILAVideoDataset' .*TypeErr"),
    ('env_cfg.mp_cfg.mp_start_method', 'x', 'the config .*ValueError.*x'),
])
def test_what_cannot_be_built(cfg, key, value, words):
    with pytest.raises(SystemExit, match=f'{cfg.filename}: .*{words}') as exit:
        start(cfg, **{key: value})
    assert '\n' not in str(exit.value)


@pytest.mark.parametrize('text, words', [
    ('a = (', "SyntaxError in line 1: '[(]' was never closed"),
    ('a = 1\nb = c', "NameError in line 2: name 'c' is not defined"),
    ("_base_ = 'none.py'", "FileNotFoundError: .*none.py"),
    ("custom_imports = dict(imports=['none_such'], "
     'allow_failed_imports=False)', 'ImportError: .*none_such'),
])
def test_config_files_that_cannot_be_read(tmp_path, text, words):
    path = tmp_path / 'bad.py'
    path.write_text(text)
    error = run_tool('tools/train.py', path).stderr
    assert re.fullmatch(
        f'{path}: the config cannot be read [(]{words}.*[)]; fix it, .*\n',
        error), error


def test_configs_that_lack_what_a_tool_needs(tmp_path):
    path = tmp_path / 'empty.py'
    path.write_text('a = 1')
    for tool, others in (('tools/test.py',
                          [path]), ('tools/analysis/get_flops.py', []),
                         ('tools/analysis/plan_run.py',
                          ['--gpus', 1, '--gpu-memory',
                           9]), ('tools/convert/clip_to_ila.py',
                                 [path, tmp_path / 'a.pth'])):
        error = run_tool(tool, path, *others, '--allow-new-keys').stderr
        assert error == f'{path} has no `model`. Please add it\n', tool


def test_traceback_on_demand(cfg):
    with pytest.raises(ValueError) as caught:
        start(cfg, **{'model.cls_head.num_classes': -1, 'log_level': 'DEBUG'})
    assert isinstance(caught.value.__cause__, RuntimeError)


@HOOKS.register_module()
class FailingHook(Hook):

    def before_train_iter(self, *args, **kwargs):
        raise ValueError('a mistake of its own')


def test_errors_of_a_training_keep_their_traceback(cfg):
    """Only those of this project say what to fix, before the first step."""
    with pytest.raises(ValueError, match='a mistake of its own'):
        start(cfg, custom_hooks=[dict(type='FailingHook')])
    with pytest.raises(SystemExit, match='^temporal modules relate frames'):
        start(
            cfg, **{
                'train_dataloader.dataset.pipeline.1.clip_len': 1,
                'model.neck.num_frames': 1
            })


def test_models_alone_are_named_too(cfg):
    model = cfg.model.copy()
    model.cls_head = dict(model.cls_head, num_classes='many')
    with DefaultScope.overwrite_default_scope('mmaction'), \
            pytest.raises(ValueError, match="'ILALinearHead' .*TypeError"), \
            pytest.warns(UserWarning, match='random'):
        load_recognizer(model, None)
