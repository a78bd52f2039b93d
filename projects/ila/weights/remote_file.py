"""Files that are named by an address or by a model's name."""
import hashlib
import os
import tempfile
from contextlib import contextmanager
from functools import partial
from typing import Callable, Iterator, Optional
from urllib.parse import urlparse

import torch
from huggingface_hub import hf_hub_download, try_to_load_from_cache
from mmengine import fileio
from mmengine.dist import get_dist_info
from mmengine.runner import checkpoint as hub
from torch.hub import download_url_to_file, get_dir


def _find_address(name: str) -> str:
    """Look up the address of a model that MMEngine knows by name."""
    scheme, _, model = name.partition('://')
    if scheme in ('modelzoo', 'torchvision'):
        return hub.get_torchvision_models()[model]
    if scheme == 'mmcls':
        return hub.get_mmcls_models()[model]
    if scheme in ('open-mmlab', 'openmmlab'):
        model = hub.get_deprecated_model_names().get(model, model)
        address = hub.get_external_models()[model]
        if '://' not in address:
            address = os.path.join(hub._get_mmengine_home(), address)
        return address
    return name


def _download(address: str) -> str:
    """Download a file once for all processes of this machine, and keep it.

    Addresses that end in the same name are kept apart.
    """
    digest = hashlib.sha256(address.encode()).hexdigest()[:16]
    name = os.path.basename(urlparse(address).path)
    path = os.path.join(get_dir(), 'checkpoints', f'{digest}-{name}')

    def fetch() -> str:
        if not os.path.exists(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            download_url_to_file(address, path, progress=os.isatty(2))
        return path

    return _fetch_in_turn(fetch)


def _fetch_in_turn(fetch: Callable[[], str]) -> str:
    """Let the first process fetch a file before the others look for it."""
    rank, world_size = get_dist_info()
    path = None
    try:
        if rank == 0:
            path = fetch()
    finally:
        if world_size > 1:
            torch.distributed.barrier()
    return path or fetch()


def _find_cached(repository: str, *files: str) -> Optional[str]:
    """Find a file that was downloaded before, without asking the hub."""
    found = (try_to_load_from_cache(repository, file) for file in files)
    return next((path for path in found if isinstance(path, str)), None)


def _fetch_open_clip(name: str) -> str:
    """Download weights by open_clip's names of model and tag."""
    from open_clip import constants, pretrained
    model, _, tag = name.partition('/')
    cfg = pretrained.get_pretrained_cfg(model, tag)
    if not cfg:
        tags = ', '.join(pretrained.list_pretrained_tags_by_model(model))
        raise ValueError(
            f"open_clip {f'has {tags} for' if tags else 'knows no'} '{model}'")
    if not cfg.get('quick_gelu'):
        raise ValueError(
            f"open_clip's '{name}' was trained with GELU, which gives other "
            'features than the QuickGELU of the models here; take one with '
            'QuickGELU, such as ViT-B-16-quickgelu/openai')
    repository, file = os.path.split(cfg.get('hf_hub', ''))
    files = [file] if file else [
        constants.HF_SAFE_WEIGHTS_NAME, constants.HF_WEIGHTS_NAME
    ]
    cached = _find_cached(repository, *files) if repository else None
    return cached or pretrained.download_pretrained(cfg)


def _fetch_hugging_face(name: str) -> str:
    """Download a file from the hub: ``owner/repository/path``."""
    if name.count('/') < 2:
        raise ValueError(f"'{name}' is not owner/repository/file")
    owner, repository, file = name.split('/', 2)
    repository = f'{owner}/{repository}'
    return _find_cached(repository, file) or hf_hub_download(repository, file)


# Hubs whose own packages download and keep files, by the start of a name.
HUBS = {'open_clip:': _fetch_open_clip, 'hf:': _fetch_hugging_face}


@contextmanager
def _temporary(content: bytes, name: str) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, os.path.basename(name))
        with open(path, 'wb') as file:
            file.write(content)
        yield path


def _get(address: str) -> bytes:
    """Get a file from one of MMEngine's other storages."""
    if address.startswith('pavi://'):
        from pavi import modelcloud
        model = modelcloud.get(address[len('pavi://'):])
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, model.name)
            model.download(path)
            with open(path, 'rb') as file:
                return file.read()
    try:
        return fileio.get(address)
    except KeyError:
        scheme = address.partition('://')[0]
        raise ValueError(f"MMEngine has no storage '{scheme}://'") from None


def hash_file(name: str) -> str:
    """Compute the SHA-256 of a file, see :func:`local_copy`."""
    digest = hashlib.sha256()
    with local_copy(name) as path, open(path, 'rb') as file:
        for block in iter(lambda: file.read(1 << 20), b''):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def _explaining_fetch(name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # Its type depends on the storage.
        reason = str(error).strip().split('\n')[0]
        raise ValueError(
            f"weight file '{name}' cannot be fetched; fix its address or "
            f'download it and give its path ({reason})') from None


@contextmanager
def local_copy(name: str) -> Iterator[str]:
    """Get a file to where it can be read; nothing in it is looked at.

    Args:
        name (str): A path, an address, a model's name, see MMEngine's
            ``CheckpointLoader``, or that of a file at a hub:
            ``open_clip:MODEL/TAG`` or ``hf:OWNER/REPOSITORY/FILE``.

    Yields:
        str: Its path. A downloaded file is removed if it turns out that it
        cannot be read.

    Raises:
        ValueError: It cannot be fetched.
    """
    for hub_name, fetch in HUBS.items():
        if name.startswith(hub_name):
            with _explaining_fetch(name):
                path = _fetch_in_turn(partial(fetch, name[len(hub_name):]))
            yield path
            return
    if '://' not in name:
        yield os.path.expanduser(name)
        return
    try:
        address = _find_address(name)
    except KeyError:
        raise ValueError(f"weight file '{name}': there is no model of that "
                         'name; fix it') from None
    with _explaining_fetch(name):
        if address.startswith(('http://', 'https://')):
            path, content = _download(address), None
        elif '://' in address:
            path, content = None, _get(address)
        else:
            path, content = address, None
    if content is not None:
        with _temporary(content, address) as path:
            yield path
        return
    try:
        yield path
    except ValueError:
        # Otherwise it would be found again once the original is whole.
        if path != address and os.path.exists(path):
            os.remove(path)
        raise
