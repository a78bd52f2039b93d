"""Turn a file of CLIP's weights into initial weights of an ILA model."""
from common import main

if __name__ == '__main__':
    main('clip_to_ila', __doc__)
