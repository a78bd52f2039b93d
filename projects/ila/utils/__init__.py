from .atomic_file import (AtomicLocalBackend, check_output,
                          check_output_folder, replacing)
from .checkpoint import (find_weights, hash_weights, read_checkpoint,
                         write_checkpoint)
from .model_wrapper import unwrap_model
from .remote_file import local_copy
from .seeds import mix_seed
from .text_file import find_undecodable, read_lines, read_text, split_lines
from .weight_check import check_all_weights, check_weights, naming_source
from .weight_names import (convert_clip, convert_released, convert_to_ila,
                           is_alignment, is_clip, is_hugging_face_clip,
                           is_released, is_text_feature, released_stem,
                           revert_released)
from .weight_sizes import adopt_stem, clip_sizes, released_sizes
from .work_dir import (check_unlocked, find_latest_checkpoint, lock_work_dir,
                       unlock_work_dir)

__all__ = [
    'AtomicLocalBackend', 'adopt_stem', 'check_all_weights', 'check_output',
    'check_output_folder', 'check_unlocked', 'check_weights', 'clip_sizes',
    'convert_clip', 'convert_released', 'convert_to_ila',
    'find_latest_checkpoint', 'find_undecodable', 'find_weights',
    'hash_weights', 'is_alignment', 'is_clip', 'is_hugging_face_clip',
    'is_released', 'is_text_feature', 'local_copy', 'lock_work_dir', 'mix_seed',
    'naming_source', 'read_checkpoint', 'read_lines', 'read_text',
    'released_sizes', 'released_stem', 'replacing', 'revert_released',
    'split_lines', 'unlock_work_dir', 'unwrap_model', 'write_checkpoint'
]
