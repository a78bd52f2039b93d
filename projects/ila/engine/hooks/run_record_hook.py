import json
import os.path as osp
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Optional

from mmengine.dist import get_world_size, master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmaction.registry import HOOKS

PACKAGES = ('mmaction2-ila', 'mmaction2', 'mmengine', 'mmcv', 'mmcv-lite',
            'mmpretrain', 'torch', 'torchvision', 'open-clip-torch', 'decord',
            'av', 'numpy')


def _git(*arguments: str) -> Optional[str]:
    """Ask git about this repository; None where there is none."""
    folder, name = osp.split(osp.abspath(__file__))
    try:
        # An installed package may be within another repository.
        for command in (['ls-files', '--error-unmatch', name], arguments):
            result = subprocess.run(['git', *command],
                                    cwd=folder,
                                    check=True,
                                    capture_output=True,
                                    encoding='utf-8',
                                    errors='backslashreplace')
        return result.stdout
    except (OSError, subprocess.CalledProcessError):
        return None


@HOOKS.register_module()
class RunRecordHook(Hook):
    """Write down what a run was made with, beside its log.

    ``run.json`` holds the command, the seed, the number of processes, the
    versions of the packages and the commit, ``changes.diff`` what the working
    tree had changed since. The config is written by the runner.
    """

    def before_train(self, runner: Runner) -> None:
        """Write the record again: a resumed run has the first one's seed."""
        self.before_run(runner)

    @master_only
    def before_run(self, runner: Runner) -> None:
        """Write the record."""
        versions = dict(python=sys.version.split()[0])
        for package in PACKAGES:
            try:
                versions[package] = version(package)
            except PackageNotFoundError:
                pass
        commit, changes = _git('rev-parse', 'HEAD'), _git('diff', 'HEAD')
        record = dict(
            command=sys.argv,
            seed=runner.seed,
            processes=get_world_size(),
            versions=versions,
            commit=commit and commit.strip(),
            changed=bool(changes))
        with open(osp.join(runner.log_dir, 'run.json'), 'w') as file:
            json.dump(record, file, indent=2)
        if changes:
            path = osp.join(runner.log_dir, 'changes.diff')
            with open(path, 'w', encoding='utf-8') as file:
                file.write(changes)
