from .atomic_file import AtomicLocalBackend, replacing
from .checkpoint import (find_weights, hash_weights, read_checkpoint,
                         write_checkpoint)
from .model_wrapper import unwrap_model
from .seeds import mix_seed
from .weight_check import check_all_weights, check_weights, naming_source
from .weight_names import (convert_clip, convert_released, convert_to_ila,
                           is_clip, is_hugging_face_clip, is_released,
                           is_temporal, is_text_feature, released_stem,
                           revert_released)
from .weight_sizes import (adopt_stem, clip_sizes, is_released_config,
                           released_sizes)

__all__ = [
    'AtomicLocalBackend', 'adopt_stem', 'check_all_weights', 'check_weights',
    'clip_sizes', 'convert_clip', 'convert_released', 'convert_to_ila',
    'find_weights', 'hash_weights', 'is_clip',
    'is_hugging_face_clip', 'is_released', 'is_released_config', 'is_temporal', 'is_text_feature', 'mix_seed',
    'naming_source', 'read_checkpoint', 'released_sizes', 'released_stem',
    'replacing', 'revert_released', 'unwrap_model', 'write_checkpoint'
]
