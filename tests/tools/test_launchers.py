import os
import pickle
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from commands import run_tool
from launch import dist_test, free_port
from modules import load_module

from projects.ila import cli

TOOLS = Path(__file__).parents[2] / 'tools'

TOY_MODULE = '''
import torch
from mmaction.registry import DATASETS, METRICS, MODELS
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel


@DATASETS.register_module()
class ToyDataset(torch.utils.data.Dataset):
    """The numbers 0, 1, 2 and 3."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return dict(x=torch.tensor([float(index)]))


@MODELS.register_module()
class ToyModel(BaseModel):

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x, mode='tensor'):
        out = self.weight * x
        if mode == 'loss':
            return dict(loss=out.mean())
        return [dict(x=i.item(), out=o.item()) for i, o in zip(x, out)]


@METRICS.register_module()
class ToyMetric(BaseMetric):

    def process(self, data_batch, data_samples):
        self.results.extend(data_samples)

    def compute_metrics(self, results):
        return dict(size=len(results))
'''

TOY_CONFIG = '''
custom_imports = dict(imports=['toy'])
default_scope = 'mmaction'
model = dict(type='ToyModel')
train_dataloader = dict(
    batch_size=2,
    dataset=dict(type='ToyDataset'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'))
test_dataloader = train_dataloader
optim_wrapper = dict(optimizer=dict(type='SGD', lr=1.0))
train_cfg = dict(by_epoch=True, max_epochs=1)
test_cfg = dict()
test_evaluator = dict(type='ToyMetric')
env_cfg = dict(dist_cfg=dict(backend='nccl'))
'''

# In the first attempt two processes meet, and one of them is killed.
KILL_ONCE = '''
import os
import signal

if 'RANK' in os.environ and os.environ['TORCHELASTIC_RESTART_COUNT'] == '0':
    import torch.distributed
    torch.distributed.init_process_group('gloo')
    torch.distributed.barrier()
    if os.environ['RANK'] == '1':
        open('killed', 'w').close()
        os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()
'''


@pytest.fixture
def toy_config(tmp_path):
    (tmp_path / 'toy.py').write_text(TOY_MODULE)
    config = tmp_path / 'toy_config.py'
    config.write_text(TOY_CONFIG)
    return config


@pytest.fixture
def load_tool(monkeypatch):
    """Load ``tools/NAME.py`` as a module that sees the given arguments."""

    def load(name, *arguments):
        monkeypatch.syspath_prepend(str(TOOLS))
        monkeypatch.setenv('LOCAL_RANK', '0')
        monkeypatch.setattr(sys, 'argv', [name, *map(str, arguments)])
        return load_module(TOOLS / f'{name}.py')

    return load


def launch(script, *arguments, **environment):
    """Run a launcher with additional environment variables."""
    return subprocess.run([TOOLS / script, *map(str, arguments)],
                          env=dict(os.environ, **environment),
                          capture_output=True,
                          text=True,
                          timeout=300)


def make_recorder(path):
    """Make a program that prints each of its arguments on a line."""
    path.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    path.chmod(0o755)
    return path


def test_distributed_training_and_test_on_cpu(toy_config, tmp_path,
                                              monkeypatch):
    port = free_port()
    environment = dict(
        PYTHON=sys.executable,
        PYTHONPATH=str(tmp_path),
        PORT=port,
        OMP_NUM_THREADS='1')
    monkeypatch.chdir(tmp_path)

    # After an epoch one of two processes is killed. Both are started again, and
    # go on with the second epoch.
    (tmp_path / 'sitecustomize.py').write_text(KILL_ONCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert run_tool('tools/train.py', 'toy_config.py').returncode == 0
    with toy_config.open('a') as file:
        file.write("train_cfg['max_epochs'] = 2")
    trained = launch(
        'dist_train.sh', 'toy_config.py', 2, MAX_RESTARTS='1', **environment)
    assert trained.returncode == 0, trained.stderr
    assert (tmp_path / 'killed').exists()
    work_dir = tmp_path / 'work_dirs' / 'toy_config'
    checkpoint = work_dir / 'epoch_2.pth'
    # First two steps on the loss mean(weight * x), then one over the batches
    # of both processes. A single one would see two batches, two that don't
    # communicate would end at different weights.
    weight = torch.load(checkpoint, weights_only=False)['state_dict']['weight']
    assert weight.item() == -(0 + 1) / 2 - (2 + 3) / 2 - (0 + 1 + 2 + 3) / 4

    # That dist_test.sh calls torchrun in the same way is tested below.
    tested = dist_test(tmp_path, 'toy_config.py', checkpoint, 2, '--dump',
                       'predictions.pkl')
    assert tested.returncode == 0, tested.stderr
    predictions = pickle.loads((tmp_path / 'predictions.pkl').read_bytes())
    assert predictions == [dict(x=x, out=-4.5 * x) for x in range(4)]


@pytest.mark.parametrize('script, arguments, tool_arguments', [
    ('dist_train.sh', ['a b.py', '3', '--amp', '--seed', '1'],
     ['train.py', 'a b.py', '--launcher', 'pytorch', '--amp', '--seed', '1']),
    ('dist_test.sh', ['a b.py', 'c.pth', '3', '--dump', 'd.pkl'], [
        'test.py', 'a b.py', 'c.pth', '--launcher', 'pytorch', '--dump',
        'd.pkl'
    ]),
])
def test_dist_scripts_pass_environment_to_torchrun(script, arguments,
                                                   tool_arguments, tmp_path):
    recorder = make_recorder(tmp_path / 'recorder')
    tool, *tool_arguments = tool_arguments

    default = launch(script, *arguments, PYTHON=str(recorder))
    given = launch(
        script,
        *arguments,
        PYTHON=str(recorder),
        NNODES='2',
        NODE_RANK='1',
        MASTER_ADDR='10.0.0.1',
        PORT='1234')

    for process, addresses in (
        (default, [
            '--nnodes=1', '--node_rank=0', '--master_addr=127.0.0.1',
            '--master_port=29500'
        ]),
        (given, [
            '--nnodes=2', '--node_rank=1', '--master_addr=10.0.0.1',
            '--master_port=1234'
        ]),
    ):
        assert process.stdout.splitlines() == [
            '-m', 'torch.distributed.run', *addresses, '--nproc_per_node=3',
            str(TOOLS / tool), *tool_arguments
        ]


def test_dist_train_restarts(tmp_path):
    recorder = make_recorder(tmp_path / 'recorder')
    environment = dict(
        PYTHON=str(recorder), NNODES='1:4', MASTER_ADDR='10.0.0.1', JOB_ID='7')
    process = launch('dist_train.sh', 'a.py', 3, '--resume', '--amp',
                     **environment)
    assert process.stdout.splitlines() == [
        '-m', 'torch.distributed.run', '--nnodes=1:4', '--max_restarts=0',
        '--rdzv_backend=c10d', '--rdzv_endpoint=10.0.0.1:29500', '--rdzv_id=7',
        '--nproc_per_node=3',
        str(TOOLS / 'train.py'), 'a.py', '--launcher', 'pytorch', '--resume',
        '--amp', '--resume'
    ]
    process = launch('dist_train.sh', 'a.py', 3, '--resume', 'b.pth',
                     **environment)
    assert process.returncode == 2
    assert 'give --resume no checkpoint' in process.stderr


SRUN = """
trap 'echo asked; exit {asked}' USR1
printf '%s\\n' "$@"
echo started >&2
for ((i = 0; i < {time}; i++)); do sleep 0.1; done
exit {end}
"""


@pytest.mark.parametrize('time, end, ask, code, requeued', [
    (1, 0, False, 0, False),
    (1, 1, False, 1, False),
    (300, 0, True, 75, True),
    (300, 0, True, 137, True),
    (300, 0, True, 0, False),
])
def test_slurm_job_is_requeued(tmp_path, time, end, ask, code, requeued):
    """Also if `srun` has killed processes because the first had ended."""
    for name, script in (('srun', SRUN.format(asked=code, time=time, end=end)),
                         ('scontrol', 'echo requeued "$@"')):
        (tmp_path / name).write_text(f'#!/usr/bin/env bash\n{script}\n')
        (tmp_path / name).chmod(0o755)
    # Slurm's copy is elsewhere.
    job = shutil.copy(TOOLS / 'slurm_train.sbatch', tmp_path / 'slurm_script')
    process = subprocess.Popen(['bash', job, 'a b.py', '--amp'],
                               env=dict(
                                   os.environ,
                                   PATH=os.pathsep.join(
                                       [str(tmp_path), os.environ['PATH']]),
                                   PYTHON='python3',
                                   SLURM_SUBMIT_DIR=str(TOOLS.parent),
                                   SLURM_JOB_ID='42'),
                               stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE,
                               text=True)
    assert process.stderr.readline() == 'started\n'
    if ask:
        process.send_signal(signal.SIGUSR1)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == code
    lines = [
        '--kill-on-bad-exit=1', 'python3', '-u',
        str(TOOLS / 'train.py'), 'a b.py', '--launcher=slurm', '--amp',
        '--resume'
    ]
    lines += ['asked'] if ask else []
    lines += ['requeued requeue 42'] if requeued else []
    assert out.splitlines() == lines


@pytest.mark.parametrize('environment, gpus, gpus_per_node, cpus, extra', [
    ({}, 8, 8, 5, []),
    (dict(GPUS='4'), 4, 4, 5, []),
    (dict(
        GPUS='16',
        GPUS_PER_NODE='2',
        CPUS_PER_TASK='3',
        SRUN_ARGS='--quotatype=spot --time=1'), 16, 2, 3,
     ['--quotatype=spot', '--time=1']),
])
@pytest.mark.parametrize('script, arguments, command', [
    ('slurm_train.sh', ['a b.py', '--amp'],
     ['train.py', 'a b.py', '--launcher=slurm', '--amp']),
    ('slurm_test.sh', ['a b.py', 'c.pth', '--dump', 'd.pkl'],
     ['test.py', 'a b.py', 'c.pth', '--launcher=slurm', '--dump', 'd.pkl']),
])
def test_slurm_scripts_build_srun_command(script, arguments, command,
                                          environment, gpus, gpus_per_node,
                                          cpus, extra, tmp_path):
    make_recorder(tmp_path / 'srun')
    path = os.pathsep.join([str(tmp_path), os.environ['PATH']])
    process = launch(
        script,
        'partition',
        'job',
        *arguments,
        PATH=path,
        PYTHON='some python',
        **environment)
    tool, *tool_arguments = command
    assert process.stdout.splitlines() == [
        '-p', 'partition', '--job-name=job', f'--gres=gpu:{gpus_per_node}',
        f'--ntasks={gpus}', f'--ntasks-per-node={gpus_per_node}',
        f'--cpus-per-task={cpus}', '--kill-on-bad-exit=1', *extra,
        'some python', '-u',
        str(TOOLS / tool), *tool_arguments
    ]


@pytest.mark.parametrize('script, arguments', [
    ('dist_train.sh', ['config.py']),
    ('dist_train.sh', ['config.py', '0']),
    ('dist_train.sh', ['config.py', '--amp']),
    ('dist_test.sh', ['config.py', 'checkpoint.pth']),
    ('dist_test.sh', ['config.py', '2', 'checkpoint.pth']),
    ('slurm_train.sh', ['partition', 'job']),
    ('slurm_train.sbatch', []),
    ('slurm_train.sbatch', ['a.py', '--resume', 'b.pth']),
    ('slurm_train.sbatch', ['a.py', '--amp', '--res=b.pth']),
    ('slurm_test.sh', ['partition', 'job', 'config.py']),
])
def test_launchers_refuse_bad_arguments(script, arguments, tmp_path):
    recorder = make_recorder(tmp_path / 'srun')
    process = launch(
        script,
        *arguments,
        PYTHON=str(recorder),
        PATH=f'{tmp_path}:/usr/bin:/bin')
    assert process.returncode == 2
    assert process.stdout == ''
    assert process.stderr.startswith('Usage: ') or arguments[-1].endswith(
        'b.pth')
    assert script in process.stderr


@pytest.mark.parametrize('gpus', ['0', 'two'])
@pytest.mark.parametrize('script', ['slurm_train.sh', 'slurm_test.sh'])
def test_slurm_scripts_need_a_number_of_gpus(script, gpus):
    process = launch(script, 'partition', 'job', 'a.py', 'a.pth', GPUS=gpus)
    assert process.returncode == 2
    assert f"GPUS must be a number from 1 on, got '{gpus}'" in process.stderr


def test_slurm_file_is_for_sbatch():
    process = launch('slurm_train.sbatch', 'a.py')
    assert process.returncode
    assert 'SLURM_JOB_ID: is not set; submit this file' in process.stderr


@pytest.mark.parametrize('tool, arguments', [('train', []),
                                             ('test', ['a.pth'])])
def test_launcher_that_has_started_nothing(load_tool, toy_config, tool,
                                           arguments, monkeypatch):
    monkeypatch.delenv('RANK', raising=False)
    with pytest.raises(SystemExit, match='use tools/dist_train.sh or tools/'):
        load_tool(tool, toy_config, *arguments, '--launcher', 'pytorch').main()


class Recorder:
    """Stands in for the runner and keeps its config."""
    model = None

    def __init__(self, cfg):
        Recorder.cfg = cfg

    def register_hook(self, hook):
        pass

    def train(self):
        pass


def test_tools_name_missing_files(load_tool, toy_config, tmp_path,
                                  monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    missing = tmp_path / 'missing'
    for tool, arguments in (
        ('train', [missing]),
        ('train', [toy_config, '--resume', missing]),
        ('train', [toy_config, '--cfg-options', f'load_from={missing}']),
        ('test', [missing, missing]),
        ('test', [toy_config, missing]),
    ):
        with pytest.raises(SystemExit, match=f'not found: {missing}'):
            load_tool(tool, *arguments).main()


def test_train_names_missing_base_config(load_tool, tmp_path):
    config = tmp_path / 'config.py'
    config.write_text("_base_ = 'missing_base.py'")
    with pytest.raises(SystemExit, match='config.py: .*missing_base.py'):
        load_tool('train', config).main()


def test_test_names_unreadable_checkpoint(load_tool, toy_config, tmp_path,
                                          monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    checkpoint = tmp_path / 'cut.pth'
    torch.save(dict(state_dict=dict(weight=torch.zeros(999))), checkpoint)
    checkpoint.write_bytes(checkpoint.read_bytes()[:2000])
    with pytest.raises(SystemExit, match=f"{checkpoint}' cannot be read"):
        load_tool('test', toy_config, checkpoint).main()


def test_test_refuses_dump_of_other_format(load_tool, toy_config):
    with pytest.raises(SystemExit, match="write 'result.json': .*pickle"):
        load_tool('test', toy_config, 'a.pth', '--dump', 'result.json').main()


@pytest.mark.parametrize('tool, split', [('train', 'train'), ('train', 'val'),
                                         ('test', 'test')])
def test_tools_refuse_other_numbers_of_classes(load_tool, toy_config, tmp_path,
                                               monkeypatch, tool, split):
    monkeypatch.syspath_prepend(str(tmp_path))
    checkpoint = tmp_path / 'a.pth'
    torch.save(dict(a=torch.zeros(1)), checkpoint)

    class Runner(Recorder):
        model = torch.nn.Module()
        model.cls_head = torch.nn.Module()
        model.cls_head.num_classes = 3

    arguments = [checkpoint] if tool == 'test' else []
    module = load_tool(tool, toy_config, *arguments, '--allow-new-keys',
                       '--cfg-options',
                       f'{split}_dataloader.dataset.num_classes=4')
    monkeypatch.setattr(cli, 'build_runner', Runner)
    with pytest.raises(SystemExit, match=f'{split}_data.* is 4, .* has 3'):
        module.main()


def test_train_refuses_amp_without_gpu(load_tool, toy_config, tmp_path,
                                       monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(SystemExit, match='needs a GPU'):
        load_tool('train', toy_config, '--amp').main()


def test_train_names_missing_base_batch_size(load_tool, toy_config, tmp_path,
                                             monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(SystemExit, match=f'{toy_config}: .*auto_scale_lr'):
        load_tool('train', toy_config, '--auto-scale-lr').main()


@pytest.mark.parametrize('wrapper, flags, expected', [
    ('OptionalAmpOptimWrapper', ['--amp'], 'OptionalAmpOptimWrapper'),
    ('mmaction.OptionalAmpOptimWrapper', ['--amp'],
     'mmaction.OptionalAmpOptimWrapper'),
    ('OptimWrapper', ['--amp'], 'AmpOptimWrapper'),
    ('OptimWrapper', [], 'OptimWrapper'),
])
def test_train_amp_selects_optim_wrapper(load_tool, toy_config, tmp_path,
                                         monkeypatch, wrapper, flags,
                                         expected):
    monkeypatch.syspath_prepend(str(tmp_path))
    toy_config.write_text(TOY_CONFIG + f"optim_wrapper['type'] = '{wrapper}'")
    train = load_tool('train', toy_config, *flags)
    monkeypatch.setattr('mmengine.device.get_device', lambda: 'cuda')
    monkeypatch.setattr(cli, 'build_runner', Recorder)
    train.main()
    assert Recorder.cfg.optim_wrapper.type == expected


@pytest.mark.parametrize('randomness', ['', 'randomness = dict(seed=1)'])
def test_train_seed_goes_before_config(load_tool, toy_config, tmp_path,
                                       monkeypatch, randomness):
    monkeypatch.syspath_prepend(str(tmp_path))
    toy_config.write_text(TOY_CONFIG + randomness)
    train = load_tool('train', toy_config, '--seed', 7, '--deterministic')
    monkeypatch.setattr(cli, 'build_runner', Recorder)
    train.main()
    assert Recorder.cfg.randomness.seed == 7
    assert Recorder.cfg.randomness.deterministic is True
