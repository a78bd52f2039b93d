import shutil
from pathlib import Path
from runpy import run_path

from setuptools import find_namespace_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent


class BuildWithMim(build_py):
    """Add what mim looks for in an installed OpenMMLab project."""

    def run(self):
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib, 'projects', '.mim')
        for folder in ('configs', 'tools'):
            shutil.copytree(ROOT / folder, target / folder, dirs_exist_ok=True)
        shutil.copy(ROOT / 'model-index.yml', target)


def parse_requirements(name):
    """Read a file of ``requirements/`` without its comments."""
    lines = (ROOT / 'requirements' / name).read_text().splitlines()
    requirements = (line.partition('#')[0].strip() for line in lines)
    return [requirement for requirement in requirements if requirement]


setup(
    name='mmaction2-ila',
    version=run_path(str(ROOT / 'projects/ila/version.py'))['__version__'],
    description='ILA (Implicit Learnable Alignment, ICCV 2023) for MMAction2',
    license='Apache-2.0',
    cmdclass=dict(build_py=BuildWithMim),
    packages=find_namespace_packages(include=['projects.ila*']),
    # MMEngine 0.10.7 needs `pkgutil.find_loader`, which 3.14 lacks.
    python_requires='>=3.10,<3.14',
    # mmcv or mmcv-lite has to be there too, see requirements/mminstall.txt.
    install_requires=parse_requirements('runtime.txt'),
    extras_require={
        'optional': parse_requirements('optional.txt'),
        'tests': parse_requirements('tests.txt'),
    })
