import os
import zlib
from typing import Dict

import numpy as np
from mmcv.transforms import BaseTransform

from mmaction.registry import TRANSFORMS


@TRANSFORMS.register_module()
class ShuffleFrames(BaseTransform):
    """Put the sampled frames of each clip into random order.

    It shows how much of an accuracy depends on the order of the frames. The
    new order depends only on the file's path, so that tests are repeatable.
    """

    def transform(self, results: Dict) -> Dict:
        """Shuffle ``frame_inds`` within each of the ``num_clips`` clips."""
        clips = results['frame_inds'].reshape(results['num_clips'], -1)
        rng = np.random.default_rng(
            zlib.crc32(os.fsencode(results['filename'])))
        results['frame_inds'] = rng.permuted(clips, axis=1).ravel()
        return results
