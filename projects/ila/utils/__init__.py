from .atomic_file import AtomicLocalBackend, remove_folder, replacing
from .config_file import load_config_file
from .device import check_device, find_device
from .errors import explaining_builds, is_explained, naming_source
from .model_wrapper import is_sharded_model, unwrap_model
from .seeds import mix_seed
from .text_file import find_undecodable, read_lines, read_text, split_lines

__all__ = [
    'AtomicLocalBackend', 'check_device', 'explaining_builds', 'find_device',
    'find_undecodable', 'is_explained', 'load_config_file', 'is_sharded_model',
    'mix_seed', 'naming_source', 'read_lines', 'read_text', 'remove_folder',
    'replacing', 'split_lines', 'unwrap_model'
]
