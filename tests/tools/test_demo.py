"""`make demo` on a few videos and for one epoch."""
import pickle
import re

import numpy as np
from commands import ROOT
from launch import run_python
from modules import load_module
from PIL import Image


def test_demo(tmp_path, monkeypatch, capsys):
    for name in ('configs', 'projects', 'tools'):
        (tmp_path / name).symlink_to(ROOT / name)

    demo = load_module(ROOT / 'tools/demo.py')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, 'ROOT', tmp_path)
    monkeypatch.setattr(demo.subprocess, 'run', run_python)
    monkeypatch.setattr('sys.argv', [
        'demo.py', '--train', '10', '--val', '12', '--cfg-options',
        'train_cfg.max_epochs=1', 'param_scheduler.1.end=1',
        'param_scheduler.1.begin=0'
    ])
    demo.main()

    shares = []
    for name in ('ila_figures', 'ila_figures_shuffled'):
        with open(f'work_dirs/ila_figures/{name}.pkl', 'rb') as file:
            results = pickle.load(file)
        scores = np.stack([result['pred_score'] for result in results])
        labels = np.array([int(result['gt_label']) for result in results])
        ranks = (scores > scores[range(12), labels][:, None]).sum(1)
        shares += [100 * (ranks < count).mean() for count in (1, 5)]
    out = capsys.readouterr().out
    rows = re.findall('(?:views|shuffled) +(.*)%  *(.*)%', out)
    assert [float(cell) for row in rows
            for cell in row] == [round(share, 1) for share in shares]
    assert (tmp_path / 'work_dirs/ila_figures/alignment.png').stat().st_size
    with Image.open('work_dirs/ila_figures/alignment.webp') as image:
        assert image.n_frames == 3 * 8
