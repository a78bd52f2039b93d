import importlib
import os
import pickle
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmengine.utils import digit_version

import mmaction
from projects.ila import compat

DRN = 'mmaction.models.localizers.drn'

LOAD_COMPAT = f'''
import importlib.util
spec = importlib.util.spec_from_file_location('compat', {compat.__file__!r})
compat = importlib.util.module_from_spec(spec)
spec.loader.exec_module(compat)
'''


def run_python(code, path):
    """Run code in a new interpreter that finds modules in ``path`` first."""
    return subprocess.run([sys.executable, '-c', code],
                          env=dict(os.environ, PYTHONPATH=str(path)),
                          capture_output=True,
                          text=True)


@pytest.fixture
def mmaction_copy(tmp_path):
    """A copy of the installed MMAction2 without its ``drn`` folder."""
    copy = tmp_path / 'mmaction'
    shutil.copytree(
        Path(mmaction.__file__).parent,
        copy,
        ignore=shutil.ignore_patterns('.mim', 'drn'))
    return copy


@pytest.fixture
def bare_transformers(tmp_path):
    """A release of transformers that lacks what MMAction2 needs of it."""
    package = tmp_path / 'transformers'
    package.mkdir()
    # All that torch 2.1 needs of it.
    (package / '__init__.py').write_text('from . import configuration_utils')
    configuration = package / 'configuration_utils.py'
    configuration.write_text('class PretrainedConfig: pass')
    info = tmp_path / 'transformers-9.0.0.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text(
        'Metadata-Version: 2.1\nName: transformers\nVersion: 9.0.0\n')


def test_mmaction_does_not_import_without_repairs(mmaction_copy,
                                                  bare_transformers):
    code = LOAD_COMPAT + '''
try:
    import mmaction.models
except ModuleNotFoundError as error:
    print(error)
compat.provide_drn()
import mmaction.models
'''
    process = run_python(code, mmaction_copy.parent)
    assert process.stdout == f"No module named '{DRN}'\n"
    assert "No module named 'transformers.models'" in process.stderr


def test_apply_makes_mmaction_importable(mmaction_copy, bare_transformers):
    code = LOAD_COMPAT + '''
compat.apply()
compat.apply()
from mmaction.models import DRN
from mmaction.registry import MODELS
for name in ('DRN', 'VindLUVQA', 'VindLURetrieval'):
    try:
        MODELS.build(dict(type=name))
    except ImportError as error:
        print(error)
MODELS.build(dict(type='TSNHead', num_classes=2, in_channels=3))
'''
    process = run_python(code, mmaction_copy.parent)
    assert process.returncode == 0, process.stderr
    drn, vqa, retrieval = process.stdout.splitlines()
    assert drn.startswith('DRN is not available') and 'git' in drn
    assert vqa.startswith('VindLUVQA is not available')
    assert retrieval.startswith('VindLURetrieval is not available')
    assert 'transformers' in retrieval


def test_apply_leaves_complete_mmaction_alone(mmaction_copy):
    drn = mmaction_copy / 'models' / 'localizers' / 'drn'
    drn.mkdir()
    (drn / '__init__.py').touch()
    (drn / 'drn.py').write_text('''
from mmaction.registry import MODELS


@MODELS.register_module()
class DRN:
    healthy = True
''')
    code = LOAD_COMPAT + '''
compat.apply()
from mmaction.models import DRN
from mmaction.registry import MODELS
assert DRN.healthy and MODELS.get('DRN') is DRN
'''
    process = run_python(code, mmaction_copy.parent)
    assert process.returncode == 0, process.stderr
    assert 'MultiScaleDeformableAttention' not in process.stderr


def forget_toy_package():
    for name in [name for name in sys.modules if name.startswith('toy_pack')]:
        del sys.modules[name]


@pytest.fixture
def toy_package(tmp_path, monkeypatch):
    """A package with the structure of MMAction2's multimodal models."""
    files = {
        '__init__.py':
        '',
        'registry.py':
        '''
from mmengine.registry import Registry

MODELS = Registry('model')
''',
        'utils/__init__.py':
        '',
        'utils/dependency.py':
        '''
WITH_MULTIMODAL = True


def register_multimodal_placeholder(names, registry):
    raise AssertionError
''',
        'models/__init__.py':
        '''
from .head import Head
from .multimodal import *
''',
        'models/head.py':
        '''
from toy_package.registry import MODELS


@MODELS.register_module()
class Head:
    pass
''',
        'models/multimodal/__init__.py':
        '''
from toy_package.utils.dependency import WITH_MULTIMODAL

if WITH_MULTIMODAL:
    from .caption import *
    from .retrieval import *
else:
    from toy_package.registry import MODELS
    from toy_package.utils.dependency import register_multimodal_placeholder
    register_multimodal_placeholder(['Caption', 'Retrieval'], MODELS)
''',
        'models/multimodal/caption.py':
        '''
from toy_package.registry import MODELS


@MODELS.register_module()
class Caption:
    pass
''',
        'models/multimodal/retrieval.py':
        '''
from toy_package.registry import MODELS


@MODELS.register_module()
class Retrieval:
    pass
''',
    }
    for name, content in files.items():
        file = tmp_path / 'toy_package' / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path / 'toy_package'
    forget_toy_package()


def test_working_multimodal_models_are_kept(toy_package):
    compat.leave_out_broken_multimodal('toy_package')
    from toy_package.registry import MODELS
    assert set(MODELS.module_dict) == {'Head', 'Caption', 'Retrieval'}
    for name in MODELS.module_dict:
        assert type(MODELS.build(dict(type=name))).__name__ == name


# transformers' removals lead to errors of different types.
@pytest.mark.parametrize('fault', [
    'from json import removed_name', 'class Retrieval(None): pass',
    'import json; json.removed_name'
])
def test_only_broken_multimodal_models_are_left_out(toy_package, fault):
    (toy_package / 'models' / 'multimodal' / 'retrieval.py').write_text(fault)
    with pytest.raises((ImportError, TypeError, AttributeError)):
        importlib.import_module('toy_package.models')
    forget_toy_package()

    compat.leave_out_broken_multimodal('toy_package')
    from toy_package.registry import MODELS
    assert set(MODELS.module_dict) == {'Head', 'Caption', 'Retrieval'}
    MODELS.build(dict(type='Head'))
    for name in ('Caption', 'Retrieval'):
        with pytest.raises(ImportError, match=f'{name} is not available'):
            MODELS.build(dict(type=name))
    from toy_package.utils import dependency
    assert dependency.WITH_MULTIMODAL
    with pytest.raises(AssertionError):
        dependency.register_multimodal_placeholder([], MODELS)


def test_other_import_errors_are_not_hidden(toy_package):
    (toy_package / 'models' / 'head.py').write_text('import no_such_module')
    with pytest.raises(ModuleNotFoundError, match='no_such_module'):
        compat.leave_out_broken_multimodal('toy_package')


@pytest.fixture
def strict_torch_load():
    """Forget which types ``torch.load`` was allowed to read."""
    allowed = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    yield
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(allowed)


needs_strict_torch = pytest.mark.skipif(
    digit_version(torch.__version__) < digit_version('2.6.0'),
    reason='torch.load reads everything before torch 2.6')


class ToyModel(BaseModel):

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(2, 1)

    def forward(self, x, mode='tensor'):
        out = self.linear(x)
        if mode == 'loss':
            return dict(loss=out.square().mean(), top1_acc=out.max())
        return out


class ToyDataset(torch.utils.data.Dataset):
    metainfo = dict(classes=['a', 'b'])

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return dict(x=torch.tensor([index, 1.0]))


def train(work_dir, by_epoch, end, resume=False):
    """Train for ``end`` epochs of two iterations, or for ``end * 2`` ones."""
    torch.manual_seed(0)
    end = end if by_epoch else end * 2
    runner = Runner(
        model=ToyModel(),
        work_dir=str(work_dir),
        experiment_name=uuid4().hex,
        train_dataloader=dict(
            batch_size=2,
            dataset=ToyDataset(),
            sampler=dict(
                type='DefaultSampler' if by_epoch else 'InfiniteSampler',
                shuffle=False),
            collate_fn=dict(type='default_collate')),
        train_cfg=dict(by_epoch=True, max_epochs=end) if by_epoch else dict(
            by_epoch=False, max_iters=end),
        optim_wrapper=dict(
            optimizer=dict(type='AdamW', lr=0.1), clip_grad=dict(max_norm=1)),
        param_scheduler=[
            dict(type='LinearLR', start_factor=0.1, end=2, by_epoch=False),
            dict(type='CosineAnnealingLR', T_max=4, end=9, by_epoch=by_epoch)
        ],
        default_hooks=dict(
            checkpoint=dict(
                type='CheckpointHook',
                by_epoch=by_epoch,
                interval=1 if by_epoch else 2,
                max_keep_ckpts=1)),
        custom_hooks=[dict(type='EMAHook')],
        default_scope='mmengine',
        resume=resume)
    # What a metric may leave behind.
    runner.message_hub.update_info('best_score', np.float64(0.5))
    runner.train()
    return runner


@needs_strict_torch
@pytest.mark.parametrize('by_epoch', [True, False])
def test_runner_resumes(tmp_path, strict_torch_load, by_epoch):
    whole = train(tmp_path / 'whole', by_epoch, end=3)

    train(tmp_path / 'parts', by_epoch, end=2)
    with pytest.raises(ValueError, match='(epoch_2|iter_4).*HistoryBuffer'):
        train(tmp_path / 'parts', by_epoch, end=3, resume=True)
    compat.allow_runner_checkpoints()
    resumed = train(tmp_path / 'parts', by_epoch, end=3, resume=True)

    assert resumed.iter == whole.iter == 6
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(
            resumed.model.state_dict()[name], value, rtol=0, atol=0)
    for own, other in zip(
            resumed.message_hub.get_scalar('train/loss').data,
            whole.message_hub.get_scalar('train/loss').data):
        np.testing.assert_array_equal(own, other)


def test_torch_that_reads_everything_is_left_alone(monkeypatch):
    monkeypatch.setattr(torch, '__version__', '2.5.1')
    monkeypatch.setattr(torch.serialization, 'add_safe_globals', None, False)
    compat.allow_runner_checkpoints()


@needs_strict_torch
@pytest.mark.parametrize('core', [b'numpy.core', b'numpy._core'])
def test_history_is_read_whichever_numpy_saved_it(tmp_path, strict_torch_load,
                                                  core):
    torch.save(
        dict(
            history=HistoryBuffer([1., 2.], [1, 1]),
            score=np.float32(0.25),
            counts=np.arange(3)), tmp_path / 'own.pth')
    # Only the names of NumPy's functions depend on its release.
    with zipfile.ZipFile(tmp_path / 'own.pth') as own, zipfile.ZipFile(
            tmp_path / 'other.pth', 'w') as other:
        for name in own.namelist():
            content = own.read(name)
            if name.endswith('data.pkl'):
                content, renamed = re.subn(rb'numpy\._?core', core, content)
                assert renamed
            other.writestr(name, content)

    compat.allow_runner_checkpoints()
    loaded = torch.load(tmp_path / 'other.pth')
    assert loaded['history'].mean() == 1.5
    assert loaded['history'].statistics('max') == 2
    assert loaded['score'] == np.float32(0.25)
    np.testing.assert_array_equal(loaded['counts'], np.arange(3))


class Reduced:
    """Something that pickle calls a function for while loading."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@needs_strict_torch
@pytest.mark.parametrize('function, arguments', [
    (os.system, ('touch executed', )),
    (eval, ("open('executed', 'w')", )),
    (getattr, (os, 'system')),
    (getattr, (HistoryBuffer, 'register_statistics')),
    (getattr, (HistoryBuffer, '__init__')),
    (getattr, (np.ndarray, 'min')),
    (setattr, (HistoryBuffer, 'min', 0)),
])
def test_code_in_checkpoints_is_refused(tmp_path, monkeypatch, function,
                                        arguments):
    monkeypatch.chdir(tmp_path)
    # Modules can not be pickled, which makes no difference to loading.
    arguments = [
        Reduced(importlib.import_module, argument.__name__)
        if argument is os else argument for argument in arguments
    ]
    torch.save(dict(state_dict=Reduced(function, *arguments)), 'evil.pth')
    compat.allow_runner_checkpoints()
    with pytest.raises(pickle.UnpicklingError):
        torch.load('evil.pth')
    assert not Path('executed').exists()
