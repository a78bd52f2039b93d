from .atomic_file import AtomicLocalBackend, replacing
from .device import check_device
from .errors import naming_source
from .model_wrapper import unwrap_model
from .seeds import mix_seed
from .text_file import find_undecodable, read_lines, read_text, split_lines

__all__ = [
    'AtomicLocalBackend', 'check_device', 'find_undecodable', 'mix_seed',
    'naming_source', 'read_lines', 'read_text', 'replacing', 'split_lines',
    'unwrap_model'
]
