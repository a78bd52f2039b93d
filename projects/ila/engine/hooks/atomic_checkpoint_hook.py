import os.path as osp
from typing import Dict, Optional

from mmengine.dist import is_main_process
from mmengine.fileio import put_text
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from mmaction.registry import HOOKS


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """``CheckpointHook`` that loses no checkpoint, whatever happens.

    Files appear as a whole, and an older one is removed once the newer one is
    there. MMEngine's hook removes it before and writes in place, so that a
    run that is killed, or meets a full disk, may have none left.

    Args:
        backend_args (dict, optional): Where checkpoints are stored. Defaults
            to the local disk.
        **kwargs: Arguments of MMEngine's ``CheckpointHook``.
    """

    def __init__(self,
                 *args,
                 backend_args: Optional[dict] = dict(backend='atomic'),
                 **kwargs) -> None:
        super().__init__(*args, backend_args=backend_args, **kwargs)

    def _remove(self, path: str) -> None:
        if not is_main_process():
            return
        if self.file_backend.isdir(path):  # As DeepSpeed writes them.
            self.file_backend.rmtree(path)
        elif self.file_backend.exists(path):
            self.file_backend.remove(path)

    def _save_checkpoint_with_step(self, runner: Runner, step: int,
                                   meta: dict) -> None:
        outdated = []
        if self.max_keep_ckpts > 0 and step not in self.keep_ckpt_ids:
            if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
                outdated.append(self.keep_ckpt_ids.popleft())
            self.keep_ckpt_ids.append(step)
            runner.message_hub.update_info('keep_ckpt_ids',
                                           list(self.keep_ckpt_ids))
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args)
        if is_main_process():
            put_text(
                self.last_ckpt,
                osp.join(runner.work_dir, 'last_checkpoint'),
                backend_args=dict(backend='atomic'))
        for old in outdated:
            self._remove(
                self.file_backend.join_path(self.out_dir,
                                            self.filename_tmpl.format(old)))

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
        # Without them the parent removes nothing.
        self._set_best_paths(dict.fromkeys(before))
        super()._save_best_checkpoint(runner, metrics)
        after = self._best_paths()
        for key, path in before.items():
            if after[key] is None:
                after[key] = path
            elif path not in (None, after[key]):
                self._remove(path)
        self._set_best_paths(after)
