"""Shared models: folders or repositories with a config and weights."""
import os
import re

from huggingface_hub import snapshot_download
from huggingface_hub.constants import CONFIG_NAME, SAFETENSORS_SINGLE_FILE
from mmengine.config import Config

from ..utils import load_config_file
from ..utils.config_json import read_config
from .remote_file import explaining_fetch, fetch_in_turn


def is_model_folder(name: str) -> bool:
    """Whether a name is ``hf:OWNER/REPOSITORY``, the folder of a model, or the
    config in such a folder, which MMEngine would run."""
    if os.path.basename(name) == CONFIG_NAME:
        return os.path.isfile(name)
    return bool(re.fullmatch('hf:[^/]+/[^/]+', name)) or os.path.isfile(
        os.path.join(os.path.expanduser(name), CONFIG_NAME))


def read_model_config(name: str, **options) -> Config:
    """Read the config of a shared model, with the path of its weights.

    Args:
        name (str): A folder that ``save_pretrained`` wrote, or ``owner/name``
            of a repository of Hugging Face's hub, optionally after ``hf:``.
        **options: Arguments of ``huggingface_hub.snapshot_download``, such as
            ``revision``.

    Returns:
        Config: See :func:`read_config`; ``load_from`` is the weight file.

    Raises:
        ValueError: The model cannot be fetched, or there is no model.
    """
    folder = os.path.expanduser(name)
    if os.path.isfile(folder) and os.path.basename(folder) == CONFIG_NAME:
        folder = os.path.dirname(folder)
    elif not os.path.isdir(folder):
        repository = name.removeprefix('hf:')
        with explaining_fetch(name, 'model'):
            folder = fetch_in_turn(lambda: snapshot_download(
                repository,
                allow_patterns=[CONFIG_NAME, SAFETENSORS_SINGLE_FILE],
                **options))
    cfg = read_config(os.path.join(folder, CONFIG_NAME))
    cfg.load_from = os.path.join(folder, SAFETENSORS_SINGLE_FILE)
    return cfg


def load_any_config(name: str) -> Config:
    """Load a config file, or read the config of a shared model."""
    if is_model_folder(name):
        return read_model_config(name)
    return load_config_file(name)
