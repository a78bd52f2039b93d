from .check import check_weights
from .checkpoint import (find_weights, hash_weights, read_checkpoint,
                         write_checkpoint)
from .clip_names import convert_clip, is_hugging_face_clip, is_timm_clip
from .conversion import (convert_all_weights, convert_to_ila, is_clip,
                         prepare_weights)
from .names import is_temporal, is_text_feature
from .released_names import (convert_released, is_released, released_stem,
                             revert_released)
from .remote_file import hash_file, local_copy
from .sizes import adopt_stem, is_released_config, released_sizes

__all__ = [
    'adopt_stem', 'check_weights', 'convert_all_weights', 'convert_clip',
    'convert_released', 'convert_to_ila', 'find_weights', 'hash_file',
    'hash_weights', 'is_clip', 'is_hugging_face_clip', 'is_released',
    'is_released_config', 'is_temporal', 'is_text_feature', 'is_timm_clip',
    'local_copy', 'prepare_weights', 'read_checkpoint', 'released_sizes',
    'released_stem', 'revert_released', 'write_checkpoint'
]
