"""Turn a checkpoint of this project into one of the authors' released code.

The target is a ``.pth`` file, for the argument ``--resume`` of that code.
"""
from common import main

if __name__ == '__main__':
    main('ila_to_released', __doc__)
