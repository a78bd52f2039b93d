"""Turn a checkpoint of the authors' released code into one of this project."""
from common import main

if __name__ == '__main__':
    main('released_to_ila', __doc__)
