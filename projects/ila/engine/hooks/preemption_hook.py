import signal
import threading
from functools import partial
from typing import Any, Callable, Dict, Optional

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner

from mmaction.registry import HOOKS
from .atomic_checkpoint_hook import AtomicCheckpointHook
from .reproducible_resume_hook import average_gradients

# Windows lacks the second.
SIGNALS = [
    getattr(signal, name) for name in ('SIGTERM', 'SIGUSR1')
    if hasattr(signal, name)
]


def _ignore_first(worker_init_fn: Optional[Callable], worker: int) -> None:
    """Start a worker that ignores each signal once."""

    def listen(number: int, frame: Any) -> None:
        signal.signal(number, signal.SIG_DFL)

    for number in SIGNALS:
        signal.signal(number, listen)
    if worker_init_fn is not None:
        worker_init_fn(worker)


class Preempted(SystemExit):
    """A training was asked to stop, and has saved a checkpoint.

    The exit code, ``EX_TEMPFAIL`` of ``sysexits.h``, means: try again.
    """

    def __init__(self) -> None:
        super().__init__(75)


@HOOKS.register_module()
class PreemptionHook(Hook):
    """Save a checkpoint and stop when a cluster is about to end a training.

    The cluster sends SIGUSR1 or SIGTERM to at least one of the processes, or
    to all, including data loader workers. All processes finish the iteration
    and save. A second signal of the same kind ends a process at once. A
    validation, which follows a checkpoint, is finished first.

    Raises:
        Preempted: All processes have saved.
    """

    priority = 'LOWEST'

    def __init__(self) -> None:
        self._asked = False
        self._former: Dict[int, Any] = dict()

    def before_run(self, runner: Runner) -> None:
        """Protect data loader workers, which may get the signal too."""
        # When testing, these loops are configs, and must not be built.
        for loop in (runner._train_loop, runner._val_loop):
            if isinstance(loop, BaseLoop):
                loader = loop.dataloader
                loader.worker_init_fn = partial(_ignore_first,
                                                loader.worker_init_fn)

    def before_train(self, runner: Runner) -> None:
        """Listen for signals."""
        self._asked = False
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._former[number] = signal.signal(
                    number, self._ask) or signal.SIG_DFL

    def after_train(self, runner: Runner) -> None:
        """Stop listening for signals."""
        while self._former:
            signal.signal(*self._former.popitem())

    def after_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        """Save and stop if any process was asked to stop."""
        asked = torch.tensor(int(self._asked))
        all_reduce(asked, 'max')
        if not asked:
            return
        average_gradients(runner)
        for hook in runner.hooks:
            if isinstance(hook, AtomicCheckpointHook):
                hook.save_now(runner)
                runner.logger.warning(
                    f'The training was asked to stop; {hook.last_ckpt} is '
                    'saved. Go on with --resume.')
        self.after_train(runner)
        raise Preempted

    def _ask(self, number: int, frame: Any) -> None:
        self._asked = True
        signal.signal(number, self._former.pop(number))
