"""The commands of docs/tutorial.md on small data, with a small model.

They also bring about the errors of docs/troubleshooting.md.
"""
import csv
import io
import json
import pickle
import re
import sys
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from archives import save_torchscript
from commands import ROOT, find_commands, run_command
from small_project import find_missing, make_clip, run_small, shrink_configs
from videos import write_video

from projects.ila.apis.deployment import ONNX_PACKAGES
from projects.ila.weights import convert_clip

TEXT = (ROOT / 'docs/tutorial.md').read_text()
COMMANDS = find_commands(TEXT)
CONFIG, SCRIPT = re.findall('```python\n(.*?)```', TEXT, re.S)
EPOCHS = 3
CLIP = 'checkpoints/ViT-B-16.pt'
RUN = Path('work_dirs/actions')


def find_command(part):
    return next(command for command in COMMANDS if part in command)


def make_videos(folder):
    names = re.findall(r'^  (\w+)/ +\w 1\.mp4', TEXT, re.M)
    for index, name in enumerate(names):
        path = folder / 'data/actions/videos' / name
        path.mkdir(parents=True)
        for take in (1, 2):
            write_video(path / f'{take} a.mp4', 9 + 2 * index + take)
    (folder / 'new_videos').mkdir()
    for index, name in enumerate('ab'):
        write_video(folder / f'new_videos/{name}.mp4', 20 + index)
    (folder / 'new_videos/broken.mp4').write_bytes(b'')


def load_weights(name):
    return torch.load(RUN / name, weights_only=True)['state_dict']


def forget_last_epoch():
    """Leave what a training leaves that is killed in its last epoch."""
    path = RUN / f'epoch_{EPOCHS}.pth'
    path.rename(RUN / 'unbroken.pth')
    (RUN / 'last_checkpoint').write_text(f'epoch_{EPOCHS - 1}.pth')


def run_as_printed(command, folder):
    """Run a command in the state that the text before it tells of."""
    if find_missing(command):
        return None
    if command.endswith('--resume'):
        forget_last_epoch()
    return run_small(command, folder)


@pytest.fixture(scope='module')
def outputs(tmp_path_factory):
    """Run all commands; give the exit code of each and what it printed."""
    folder = tmp_path_factory.mktemp('tutorial')
    shrink_configs(folder)
    config = re.sub('max_epochs = .*', f'max_epochs = {EPOCHS}', CONFIG)
    (folder / 'configs/actions.py').write_text(config)
    make_videos(folder)
    (folder / CLIP).parent.mkdir()
    save_torchscript(make_clip(), folder / CLIP)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield {
            command: run_as_printed(command, folder)
            for command in COMMANDS
        }


def result_of(outputs, command):
    """Give exit code and output of a command; skip if it was not run."""
    if outputs[command] is None:
        pytest.skip(f'needs {", ".join(find_missing(command))}')
    return outputs[command]


def output_of(outputs, part):
    return result_of(outputs, find_command(part))[1]


def test_every_command_is_found():
    blocks = re.findall('```shell\n(.*?)```', TEXT, re.S)
    lines = ''.join(blocks).replace('\\\n', '').splitlines()
    assert lines == [f'python {command}' for command in COMMANDS]
    assert len(set(COMMANDS)) == len(COMMANDS) == TEXT.count('python ')


@pytest.mark.parametrize(
    'command',
    COMMANDS,
    ids=[f'{i}-{x.split(" configs")[0]}' for i, x in enumerate(COMMANDS)])
def test_command_runs(outputs, command):
    code, _ = result_of(outputs, command)
    if 'infer.py' in command:  # One of the new videos is broken.
        assert code.startswith(
            '1 of 3 failed:\nnew_videos/broken.mp4: the file is empty')
    else:
        assert code == 0


def test_plan_keeps_the_clips_of_a_step(outputs):
    last = output_of(outputs, 'plan_run.py').splitlines()[-1]
    batch, accumulated, base = map(
        int,
        re.fullmatch(
            r'--cfg-options train_dataloader.batch_size=(\d+) optim_wrapper'
            r'.accumulative_counts=(\d+) auto_scale_lr.base_batch_size=(\d+)',
            last).groups())
    assert batch * accumulated == 32
    assert base == batch


def test_console_of_a_training_is_short(outputs):
    """Its log file has what MMEngine would print as well."""
    lines = output_of(outputs, 'train.py configs/actions.py').splitlines()
    details = ('System environment', 'Config:', 'paramwise_options',
               'missing keys', 'FileClient')
    assert len(lines) < 12 + 4 * EPOCHS
    assert not [line for line in lines if any(x in line for x in details)]
    for start in ('environment', 'model', 'data', 'weights'):
        assert len([x for x in lines if f' - INFO - {start}: ' in x]) == 1
    log, = [x.split('details: ')[1] for x in lines if 'details: ' in x]
    text = Path(log).read_text()
    assert not [detail for detail in details if detail not in text]


def test_training_starts_from_clip_and_leaves_it(outputs):
    weights = load_weights(f'epoch_{EPOCHS}.pth')
    for name, value in convert_clip(make_clip()).items():
        if name != 'cls_head.logit_scale':
            assert torch.equal(weights[name], value.half().float()), name
    # The only optimizer step is the last one.
    before = load_weights(f'epoch_{EPOCHS - 1}.pth')
    name = 'backbone.temporal.0.alignment.predictor.point.0.weight'
    assert not torch.equal(weights[name], before[name])
    name = ('backbone.temporal.0.alignment.predictor.prediction.bn.'
            'num_batches_tracked')
    assert weights[name].item() == EPOCHS
    names = json.loads(bytes(weights['cls_head.texts'].tolist()))
    assert names == ['clapping', 'jumping', 'riding bike']


def test_resumed_training_is_the_unbroken_one(outputs):
    unbroken = load_weights('unbroken.pth')
    resumed = load_weights(f'epoch_{EPOCHS}.pth')
    assert unbroken.keys() == resumed.keys()
    for name, value in unbroken.items():
        assert torch.equal(resumed[name], value), name


def test_pictures(outputs):
    assert (RUN / 'curves.png').is_file()
    printed = output_of(outputs, 'visualize_alignment.py').splitlines()
    section = TEXT.split('\n## ')[6]
    folder, *names = re.findall(r'`([\w/]+/|\w+\.(?:png|mp4))`', section)
    paths = {Path(line) for line in printed if Path(line).is_file()}
    assert paths == {Path(folder, name) for name in names}


def test_tensorboard_gets_the_curves(outputs):
    output_of(outputs, 'TensorboardVisBackend')
    from tensorboard.backend.event_processing.event_accumulator import \
        EventAccumulator
    folder, = Path('work_dirs/actions_board').glob('*/vis_data')
    events = EventAccumulator(str(folder)).Reload()
    assert [event.step for event in events.Scalars('acc/top1')
            ] == [*range(1, EPOCHS + 1)]
    assert {'loss', 'lr'} <= {*events.Tags()['scalars']}


def test_python_predicts_what_the_tool_does(outputs):
    output = io.StringIO()
    with redirect_stdout(output):
        exec(SCRIPT, {})
    *lines, error = (
        line for line in output.getvalue().splitlines()
        if ' - mmengine - ' not in line)
    assert error.startswith('new_videos/broken.mp4: the file is empty')
    with open(RUN / 'new_videos.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert lines == [
        f"{row['file']}: {row['name']}, {float(row['score']):.1%}"
        for row in rows[::3]
    ]


def test_exported_file_predicts_what_the_checkpoint_does(outputs):
    output_of(outputs, 'deployment/test.py')
    stages = output_of(outputs, 'deployment/export.py').splitlines()
    assert [stage.split()[0] for stage in stages[:4]
            ] == ['reading', 'tracing', 'writing', 'comparing']
    expected, exported = (
        pickle.loads((RUN / f'{name}.pkl').read_bytes())
        for name in ('test', 'onnx'))
    assert [x['gt_label'] for x in expected] == [0, 1, 2]
    for one, other in zip(expected, exported, strict=True):
        assert one['gt_label'] == other['gt_label']
        torch.testing.assert_close(one['pred_score'], other['pred_score'])


TRAIN = find_command('train.py configs') + ' --work-dir errors --cfg-options '
LIST = 'train_dataloader.dataset.ann_file='
CLASSES = 'train_dataloader.dataset.num_classes='
# Commands that end with an error of docs/troubleshooting.md, by a part of it.
ERRORS = {
    'exists already': COMMANDS[0],
    'Checkpoint file not found': f'{TRAIN} load_from=none.pt',
    'cannot be fetched': f'{TRAIN} load_from=hf:none',
    'it is truncated': f'{TRAIN} load_from=cut.pt',
    'annotation file': f'{TRAIN} {LIST}none.txt',
    'label': f'{TRAIN} model.cls_head.class_names=[a,b]',
    'train_dataloader': f'{TRAIN} {CLASSES}4',
    'cannot load video': f'{TRAIN} {LIST}broken.txt',
    'one clip per GPU': find_command('plan_run.py').replace('12', '0.001'),
    'the weights lack':
    find_command('tools/test.py') + ' --cfg-options model.neck=None',
    'the page needs': find_command('projects.ila.demo'),
    'ONNX files need': find_command('export.py')
}
# The module whose source has the other errors of Python code.
SOURCES = {
    'MMCV==': 'mmaction',
    'multimodal does not work': 'projects.ila.compat',
    'registry': 'mmengine.registry.build_functions',
    'C++ compiler': 'torch._inductor.exc',
    'temporal modules': 'projects.ila.weights.check',
    'not weights of CLIP': 'projects.ila.apis.conversion',
    'decord misreads': 'projects.ila.datasets.decord_reader',
    'the loss': 'projects.ila.engine.hooks.invalid_loss_hook',
    'another training': 'projects.ila.engine.work_dir',
    'exited unexpectedly': 'torch.utils.data.dataloader',
    '--port': 'projects.ila.demo.__main__'
}
# Errors of Python, of the system and of compiled code.
ELSEWHERE = ('No module named', 'cannot import name', 'libGL', 'C compiler',
             'CUDA', 'shared memory', 'open files', 'address')
PAGE = (ROOT / 'docs/troubleshooting.md').read_text()
ROWS = [
    row[1] for table in re.findall(r'^\| It says .*\n(?:\|.*\n)+', PAGE, re.M)
    for row in re.findall(r'^\| (`+) ?(.*?) ?\1 \|', table, re.M)
]


def to_pattern(quoted):
    return '.*'.join(map(re.escape, quoted.split('…')))


def rows_of(parts):
    return [row for row in ROWS if any(part in row for part in parts)]


@pytest.mark.parametrize('quoted', rows_of(ERRORS))
def test_errors_are_quoted_truly(outputs, quoted, monkeypatch):
    command, = (ERRORS[part] for part in ERRORS if part in quoted)
    Path('cut.pt').write_bytes(Path(CLIP).read_bytes()[:5000])
    Path('broken.txt').write_text('../../../new_videos/broken.mp4 0\n')
    for name in ('gradio', *ONNX_PACKAGES):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises((Exception, SystemExit)) as error:
        code, _ = run_command(command)
        raise SystemExit(code)
    assert re.search(to_pattern(quoted), str(error.value))


@pytest.mark.parametrize('part', SOURCES)
def test_errors_are_in_the_source(part):
    quoted, = rows_of([part])
    source = Path(find_spec(SOURCES[part]).origin).read_text()
    # A message may be joined of several strings.
    source = re.sub(r"'\s+f?'", '', source)
    assert re.search(to_pattern(quoted), source)


def test_every_error_is_tried():
    tried = [len(rows_of([part])) for part in (*ERRORS, *SOURCES)]
    assert tried == [1] * len(tried)
    others = rows_of(ELSEWHERE)
    assert len(ROWS) == len(tried) + len(others)
    assert len(ROWS) == sum(
        table.count('\n| `') for table in PAGE.split('| It says ')[1:])
