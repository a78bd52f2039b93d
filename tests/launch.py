import os
import subprocess
import sys
from pathlib import Path

DIST_TRAIN = Path(__file__).parents[1] / 'tools/dist_train.sh'
ENVIRONMENT = {
    **os.environ, 'OMP_NUM_THREADS': '1',
    'DS_ACCELERATOR': 'cpu',
    'PYTHON': sys.executable
}


def dist_train(folder: Path, config: str, processes: int, *arguments:
               str) -> subprocess.CompletedProcess:
    """Run ``tools/dist_train.sh`` in a folder, with CPU processes."""
    return subprocess.run(
        ['bash', DIST_TRAIN, config,
         str(processes), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=500)
