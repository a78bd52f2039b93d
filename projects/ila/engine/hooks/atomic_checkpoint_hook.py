import inspect
import os.path as osp
import re
from difflib import get_close_matches
from typing import Any, Callable, Dict, List, Optional

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.fileio import put_text
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from mmaction.registry import HOOKS
from ..work_dir import find_latest_checkpoint, lock_work_dir, unlock_work_dir

# Names of checkpoints saved on demand, whatever the names of others.
_UNPLANNED = r'iter_\d+\.pth'


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """``CheckpointHook`` that loses no checkpoint, whatever happens.

    Files are written atomically, and an old checkpoint is removed only after
    the new one is complete. MMEngine's hook removes the old one first and
    writes in place, so that a run that is killed, or fills the disk, may have
    none left.

    Only checkpoints that this hook wrote to the run's own folder are removed,
    whatever paths a resumed checkpoint contains. The folder may be moved or
    copied. While a run trains in it, other runs are refused.

    Args:
        backend_args (dict, optional): Where checkpoints are stored. Defaults
            to the local disk.
        **kwargs: Arguments of MMEngine's ``CheckpointHook``.

    Raises:
        TypeError: ``CheckpointHook`` has no such argument.
    """

    def __init__(self,
                 *args,
                 backend_args: Optional[dict] = dict(backend='atomic'),
                 **kwargs) -> None:
        super().__init__(*args, backend_args=backend_args, **kwargs)
        # MMEngine passes these to a function that accepts no others.
        for name in self.args:
            known = list(inspect.signature(CheckpointHook).parameters)
            nearest = get_close_matches(name, known[:-1], 1, 0)[0]
            raise TypeError(
                f"AtomicCheckpointHook has no argument '{name}'; did you mean "
                f"'{nearest}'? Change it in `default_hooks.checkpoint`")
        # Epoch and iteration of the run during a validation.
        self._place: Dict[str, int] = dict()

    def before_run(self, runner: Runner) -> None:
        """Find the checkpoint to resume from, if the run is resumed.

        Raises:
            ValueError: There are checkpoints, but none that can be read.
        """
        if (runner._resume is True and runner._load_from is None
                and not runner._has_loaded):
            runner._load_from = _on_main_process(find_latest_checkpoint,
                                                 runner.work_dir)

    def before_train(self, runner: Runner) -> None:
        """Lock the folder, and find older checkpoints in it.

        Raises:
            BlockingIOError: Another run trains in the folder.
        """
        _on_main_process(lock_work_dir, runner.work_dir)
        info = runner.message_hub.runtime_info
        if 'keep_ckpt_ids' in info:
            info['keep_ckpt_ids'] = [
                step for step in info['keep_ckpt_ids'] if type(step) is int
            ]
        super().before_train(runner)
        if self.save_best:
            self._set_best_paths({
                key: self._find_own(path)
                for key, path in self._best_paths().items()
            })

    def after_train(self, runner: Runner) -> None:
        """Publish checkpoints and unlock the folder."""
        super().after_train(runner)
        if is_main_process():
            unlock_work_dir(runner.work_dir)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Correct epoch and iteration, which ``FlexibleRunner`` increments."""
        checkpoint['meta'].update(self._place)

    def _is_own(self, name: str) -> bool:
        """Whether this hook could have given a file this name."""
        step = re.sub(r'\\\{.*?\\\}', r'\\d+', re.escape(self.filename_tmpl))
        return bool(
            re.fullmatch(rf'(best_[^/\\]+_)?{step}|{_UNPLANNED}', name))

    def _find_own(self, path: Optional[str]) -> Optional[str]:
        """Find a checkpoint in this folder, whatever folder its path has."""
        name = osp.basename(str(path))
        own = self.file_backend.join_path(self.out_dir, name)
        if self._is_own(name) and self.file_backend.exists(own):
            return own
        return None

    def _remove(self, path: str) -> None:
        own = self._find_own(path)
        if own is None or not is_main_process():
            return
        if self.file_backend.isdir(own):  # From a sharded training.
            self.file_backend.rmtree(own)
        else:
            self.file_backend.remove(own)

    def _save_checkpoint_with_step(self, runner: Runner, step: int,
                                   meta: dict) -> None:
        outdated: List[int] = []
        if self.max_keep_ckpts > 0 and step not in self.keep_ckpt_ids:
            if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
                outdated.append(self.keep_ckpt_ids.popleft())
            self.keep_ckpt_ids.append(step)
            runner.message_hub.update_info('keep_ckpt_ids',
                                           list(self.keep_ckpt_ids))
        unplanned = runner.message_hub.runtime_info.pop('unplanned_ckpt', None)
        self._save_as(runner, self.filename_tmpl.format(step), meta,
                      self.by_epoch)
        for old in outdated:
            self._remove(self.filename_tmpl.format(old))
        if unplanned not in (None, osp.basename(self.last_ckpt)):
            self._remove(unplanned)

    def save_now(self, runner: Runner) -> None:
        """Save a checkpoint after an iteration, whether or not one is due.

        The next regular checkpoint replaces it.
        """
        name = f'iter_{runner.iter + 1}.pth'
        if osp.basename(str(self.last_ckpt)) != name:
            runner.message_hub.update_info('unplanned_ckpt', name)
            self._save_as(runner, name, dict(), by_epoch=False)

    def _save_as(self, runner: Runner, name: str, meta: dict,
                 by_epoch: bool) -> None:
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=by_epoch,
            backend_args=self.backend_args)
        if is_main_process():
            # Only the name, since the folder may be moved.
            inside = self.out_dir == runner.work_dir
            put_text(
                name if inside else self.last_ckpt,
                osp.join(runner.work_dir, 'last_checkpoint'),
                backend_args=dict(backend='atomic'))

    def _best_paths(self) -> Dict[Optional[str], Optional[str]]:
        if len(self.key_indicators) == 1:
            return {None: self.best_ckpt_path}
        return self.best_ckpt_path_dict

    def _set_best_paths(self, paths: dict) -> None:
        if len(self.key_indicators) == 1:
            self.best_ckpt_path = paths[None]
        else:
            self.best_ckpt_path_dict = paths

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        if not self.save_best:
            return
        before = self._best_paths()
        # Without these paths the parent class removes nothing.
        self._set_best_paths(dict.fromkeys(before))
        self._place = dict(epoch=runner.epoch, iter=runner.iter)
        super()._save_best_checkpoint(runner, metrics)
        self._place = dict()
        after = self._best_paths()
        for key, path in before.items():
            if after[key] is None:
                after[key] = path
            elif path not in (None, after[key]):
                self._remove(path)
        self._set_best_paths(after)


def _on_main_process(function: Callable, *args) -> Any:
    """Call a function in the main process only, for all processes.

    Returns:
        Any: Its result, in all processes. An error is raised in all, too.
    """
    outcome = [None, None]
    if is_main_process():
        try:
            outcome[0] = function(*args)
        except (OSError, ValueError) as error:
            outcome[1] = error
    broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]
