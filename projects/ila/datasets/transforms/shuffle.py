import os
import zlib
from typing import Dict

import numpy as np
from mmcv.transforms import BaseTransform

from mmaction.registry import TRANSFORMS


@TRANSFORMS.register_module()
class ShuffleFrames(BaseTransform):
    """Put the sampled frames of each clip into random order.

    It shows how much of an accuracy comes from the order of the frames. The
    new order is drawn from the file's name, so that a test can be repeated.
    """

    def transform(self, results: Dict) -> Dict:
        """Shuffle the frames.

        Args:
            results (dict): With ``filename``, and ``frame_inds`` of
                ``num_clips`` clips.

        Returns:
            dict: With the shuffled ``frame_inds``.
        """
        clips = results['frame_inds'].reshape(results['num_clips'], -1)
        rng = np.random.default_rng(
            zlib.crc32(os.fsencode(results['filename'])))
        results['frame_inds'] = rng.permuted(clips, axis=1).ravel()
        return results
