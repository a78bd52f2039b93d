import json
import re

import pytest
import torch
from commands import run_tool
from hub_server import serving_hub
from tiny import TEXT_HEAD, save_weights, tiny_config

from projects.ila.analysis.training_record import describe_run
from projects.ila.apis import ILAInferencer

TOOL = 'tools/deployment/publish_model.py'
STAMP = '20260101_120000'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A training with its checkpoint, as MMEngine leaves it."""
    folder = tmp_path_factory.mktemp('publish')
    cfg = tiny_config(**TEXT_HEAD)
    cfg.load_from = '/home/somebody/ViT-B-16.pt'
    cfg.train_dataloader.dataset.ann_file = '/home/somebody/train.txt'
    cfg.dump(folder / 'tiny.py')
    save_weights(cfg, folder / 'tiny.pth')
    weights = torch.load(folder / 'tiny.pth', weights_only=True)
    meta = dict(
        epoch=2,
        iter=6,
        seed=7,
        cfg=cfg.pretty_text,
        experiment_name=f'tiny_{STAMP}',
        ila_run={
            'number of training videos': 90,
            'number of processes': 1
        })
    torch.save(dict(meta=meta, **weights), folder / 'epoch_2.pth')
    logs = folder / STAMP
    (logs / 'vis_data').mkdir(parents=True)
    (logs / 'run.json').write_text(
        json.dumps(
            dict(versions=dict(torch='2.14'), commit='abc', changed=True)))
    records = [
        dict(iter=3, epoch=1, step=3, loss=1.),
        {
            'acc/top1': 0.25,
            'step': 1
        },
        dict(iter=6, epoch=2, step=6, loss=1., top1_acc=0.9),
        {
            'acc/top1': 0.5,
            'acc/top5': 0.75,
            'step': 2
        },
    ]
    (logs / 'vis_data/scalars.json').write_text('\n'.join(
        map(json.dumps, records)))
    return folder


@pytest.fixture
def publish(folder, monkeypatch):
    monkeypatch.chdir(folder)

    def run(*arguments):
        return run_tool(TOOL, 'tiny.py', *arguments)

    return run


def test_published_and_pushed(folder, publish, tmp_path):
    with serving_hub(tmp_path) as hub:
        result = publish('epoch_2.pth', 'shared/tiny', '--push', 'owner/tiny',
                         '--license', 'apache-2.0')
        assert result.returncode == 0, result.stderr
        pushed = hub.repositories['owner/tiny']
    assert 'pushed to http://127.0.0.1' in result.stdout
    written = {
        file.name: file.read_bytes()
        for file in (folder / 'shared/tiny').iterdir()
    }
    assert written.keys() == pushed.keys()
    for name in ('README.md', 'config.json'):
        assert written[name] == pushed[name]
    card = written['README.md'].decode()
    for row in ('temporal module | TokenAlignment, in 2 of 2 blocks',
                'data | train.txt', 'videos | 90', 'processes | 1',
                'weights at its start | ViT-B-16.pt', 'epochs | 8',
                'batch of a process | 32', 'epochs at this checkpoint | 2',
                'seed | 7', 'versions | torch 2.14',
                'commit | abc, with changes', 'top1 | 0.5000',
                'top5 | 0.7500'):
        assert f'| {row} |' in card
    optimizer, = re.findall(r'optimizer \| AdamW \((.*)\) \|', card)
    assert 'lr=0.002' in optimizer and 'weight_decay=0.05' in optimizer
    assert 'license: apache-2.0' in card
    assert 'somebody' not in card and 'To be filled in' not in card

    expected = ILAInferencer('tiny.py', 'tiny.pth', 'cpu')
    found = ILAInferencer('shared/tiny', device='cpu')
    for name, value in expected.model.state_dict().items():
        assert torch.equal(found.model.state_dict()[name], value), name

    # Copied without the logs.
    (folder / STAMP).rename(tmp_path / 'logs')
    assert publish('epoch_2.pth', 'alone').returncode == 0
    card = (folder / 'alone/README.md').read_text()
    assert '| seed | 7 |' in card and 'versions' not in card
    assert card.count('To be filled in') == 2
    (tmp_path / 'logs').rename(folder / STAMP)


@pytest.mark.parametrize('iteration, expected', [
    (6, dict(top1=0.5, top5=0.75)),
    (7, dict(top1=0.5, top5=0.75)),
    (3, dict(top1=0.25)),
    (5, dict()),
])
def test_accuracy_is_that_of_the_checkpoint(folder, iteration, expected):
    """Not of the last validation, or the best one."""
    checkpoint = torch.load(folder / 'epoch_2.pth', weights_only=True)
    checkpoint['meta']['iter'] = iteration
    path = folder / 'best.pth'
    torch.save(checkpoint, path)
    assert describe_run(str(path), tiny_config())['accuracy'] == expected


@pytest.mark.parametrize('arguments, words', [
    (['tiny.pth', '.'], "'.' is not empty"),
    (['none.pth', 'new'], 'Checkpoint file not found'),
    (['tiny.pth', 'new', '--private'], '--private needs --push'),
    (['tiny.pth', 'new', '--push', 'tiny'], "'tiny' is not OWNER/NAME"),
    (['tiny.pth', 'new', '--push', 'a/b'], 'needs a token'),
])
def test_bad_arguments(publish, folder, monkeypatch, arguments, words):
    monkeypatch.setattr('huggingface_hub.constants.HF_TOKEN_PATH', 'none')
    monkeypatch.delenv('HF_TOKEN', raising=False)
    result = publish(*arguments)
    assert result.returncode == 1
    assert words in result.stderr and result.stderr.count('\n') == 1
    assert not any(folder.glob('new/*'))


def test_shared_model_in_tools(folder, publish):
    """The folder stands for the config, the weights or both."""
    assert publish('tiny.pth', 'shared/tools').returncode == 0
    (folder / 'broken.mp4').touch()
    for arguments in (['shared/tools'], ['tiny.py', 'shared/tools']):
        result = run_tool('tools/infer.py', *arguments, 'broken.mp4')
        assert result.returncode == 1
        assert '1 of 1 failed' in result.stderr, result.stderr
    plan = ['--gpus', 1, '--gpu-memory', 1]
    for name, arguments in (('train', []), ('test', ['none.pth']),
                            ('deployment/test',
                             ['none.pth']), ('analysis/plan_run', plan)):
        for model in ('shared/tools', 'shared/tools/config.json',
                      'hf:owner/tiny'):
            result = run_tool(f'tools/{name}.py', model, *arguments)
            assert result.stderr.startswith(f"'{model}' is a shared model")
