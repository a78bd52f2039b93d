"""Files that are named by an address or by a model's name."""
import hashlib
import os
import tempfile
from contextlib import contextmanager
from typing import Iterator
from urllib.parse import urlparse

import torch
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
    rank, world_size = get_dist_info()

    def fetch() -> None:
        if not os.path.exists(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            download_url_to_file(address, path, progress=os.isatty(2))

    try:
        if rank == 0:
            fetch()
    finally:
        if world_size > 1:
            torch.distributed.barrier()
    fetch()
    return path


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


@contextmanager
def local_copy(name: str) -> Iterator[str]:
    """Get a file to where it can be read; nothing in it is looked at.

    Args:
        name (str): A path, an address or a model's name, see MMEngine's
            ``CheckpointLoader``.

    Yields:
        str: Its path. A downloaded file is removed if it turns out that it
        cannot be read.

    Raises:
        ValueError: It cannot be fetched.
    """
    if '://' not in name:
        yield os.path.expanduser(name)
        return
    try:
        address = _find_address(name)
    except KeyError:
        raise ValueError(f"weight file '{name}': there is no model of that "
                         'name; fix it') from None
    try:
        if address.startswith(('http://', 'https://')):
            path, content = _download(address), None
        elif '://' in address:
            path, content = None, _get(address)
        else:
            path, content = address, None
    except Exception as error:  # Its type depends on the storage.
        reason = str(error).split('\n')[0]
        raise ValueError(
            f"weight file '{name}' cannot be fetched; fix its address or "
            f'download it and give its path ({reason})') from None
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
