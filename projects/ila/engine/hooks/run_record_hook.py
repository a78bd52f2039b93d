import json
import os.path as osp
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Optional, Tuple

from mmengine.dist import get_world_size, master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmaction.registry import HOOKS

PACKAGES = ('mmaction2-ila', 'mmaction2', 'mmengine', 'mmcv', 'mmcv-lite',
            'mmpretrain', 'torch', 'torchvision', 'open-clip-torch', 'decord',
            'av', 'numpy')


def _ask_git() -> Tuple[Optional[str], Optional[str]]:
    """Get this repository's commit and its uncommitted changes, if any."""
    folder, name = osp.split(osp.abspath(__file__))
    commands = (
        # An installed package may be within another repository.
        ['ls-files', '--error-unmatch', name],
        ['rev-parse', 'HEAD'],
        ['diff', 'HEAD'])
    try:
        _, commit, changes = [
            subprocess.run(['git', *command],
                           cwd=folder,
                           check=True,
                           capture_output=True,
                           encoding='utf-8',
                           errors='backslashreplace').stdout
            for command in commands
        ]
    except (OSError, subprocess.CalledProcessError):
        return None, None
    return commit.strip(), changes


@HOOKS.register_module()
class RunRecordHook(Hook):
    """Record how a run was made, next to its log.

    ``run.json`` contains the command, the seed, the number of processes, the
    versions of packages and the commit; ``changes.diff`` has the uncommitted
    changes of the working tree. The runner writes the config.
    """

    @master_only
    def before_run(self, runner: Runner) -> None:
        """Write the record."""
        versions = dict(python=sys.version.split()[0])
        for package in PACKAGES:
            try:
                versions[package] = version(package)
            except PackageNotFoundError:
                pass
        commit, changes = _ask_git()
        self._record = dict(
            command=sys.argv,
            seed=runner.seed,
            processes=get_world_size(),
            versions=versions,
            commit=commit,
            changed=bool(changes))
        self._write(runner)
        if changes:
            path = osp.join(runner.log_dir, 'changes.diff')
            with open(path, 'w', encoding='utf-8') as file:
                file.write(changes)

    @master_only
    def before_train(self, runner: Runner) -> None:
        """Correct the seed: a resumed run keeps its original seed."""
        self._record['seed'] = runner.seed
        self._write(runner)

    def _write(self, runner: Runner) -> None:
        with open(osp.join(runner.log_dir, 'run.json'), 'w') as file:
            json.dump(self._record, file, indent=2)
