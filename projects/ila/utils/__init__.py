from .atomic_file import AtomicLocalBackend, replacing
from .device import check_device
from .errors import explaining_builds, is_explained, naming_source
from .model_wrapper import unwrap_model
from .seeds import mix_seed
from .text_file import find_undecodable, read_lines, read_text, split_lines

__all__ = [
    'AtomicLocalBackend', 'check_device', 'explaining_builds',
    'find_undecodable', 'is_explained', 'mix_seed', 'naming_source',
    'read_lines', 'read_text', 'replacing', 'split_lines', 'unwrap_model'
]
