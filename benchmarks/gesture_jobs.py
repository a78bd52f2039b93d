"""Trainings of benchmarks/gestures.py, in several processes."""
import json
import sys
import time
import traceback
from pathlib import Path
from typing import List, NamedTuple, Optional

import torch
import torch.multiprocessing as multiprocessing
from gesture_data import Data, load
from gesture_training import Run, train
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope

from projects.ila.utils import replacing


class Settings(NamedTuple):
    """Settings that all runs share.

    Attributes:
        config (Config): Config of the model and its training.
        data (dict): Parts of :class:`Data` that are not in files.
        folder (Path): Folder of the results.
        frames (Path): File of the frames.
        tokens (Path): File of their tokens.
        view_frames (Path, optional): File of the views to test; None for one
            view, of whole frames.
        view_tokens (Path, optional): File of the tokens of these views.
        device (str): Device of the models.
        deadline (float, optional): Time after which no run starts.
    """
    config: Config
    data: dict
    folder: Path
    frames: Path
    tokens: Path
    view_frames: Optional[Path]
    view_tokens: Optional[Path]
    device: str
    deadline: Optional[float]

    def result(self, run: Run) -> Path:
        size = self.config.train_dataloader.batch_size
        copies = self.frames.stem.split('_')[-1]
        views = '_views' if self.view_frames else ''
        return self.folder / f'{run}_batch{size}_{copies}copies{views}.json'

    def load(self) -> Data:
        """Load the data for training and testing."""
        frames, tokens = load(self.frames)['frames'], load(
            self.tokens)['tokens']
        views = frames[:1], tokens[:1]
        if self.view_frames:
            views = (load(self.view_frames)['frames'],
                     load(self.view_tokens)['tokens'])
        return Data(frames, tokens, *views, **self.data).to(self.device)


def work(settings: Settings, counter, runs: List[Run]) -> None:
    """Do the runs that no other process has started."""
    init_default_scope('mmaction')
    # Hide messages about the initialisation of each weight.
    MMLogger.get_current_instance().setLevel('WARNING')
    torch.set_num_threads(1)
    data, failed = None, []
    while settings.deadline is None or time.time() < settings.deadline:
        with counter.get_lock():
            index = counter.value
            counter.value += 1
        if index >= len(runs):
            break
        if data is None:
            data = settings.load()
        run = runs[index]
        try:
            result = train(settings.config, run, data, settings.device)
        except Exception:  # Other runs may succeed.
            traceback.print_exc()
            failed.append(run)
            continue
        with replacing(str(settings.result(run))) as partial:
            Path(partial).write_text(json.dumps(result))
        print(
            f"{run}: {result['seconds']:.1f} s, {result['steps']} steps",
            flush=True)
    if failed:
        sys.exit(f"{len(failed)} runs failed: {', '.join(map(str, failed))}")


def do_runs(settings: Settings, runs: List[Run], jobs: int) -> None:
    """Do the runs that have no result yet, in order."""
    runs = [run for run in runs if not settings.result(run).exists()]
    context = multiprocessing.get_context('spawn')
    counter = context.Value('i', 0)
    jobs = min(jobs, len(runs))
    if jobs <= 1:
        work(settings, counter, runs)
        return
    processes = [
        context.Process(target=work, args=(settings, counter, runs))
        for _ in range(jobs)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        sys.exit('some runs failed; what they said is above')
