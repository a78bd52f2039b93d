"""Files that are given by a URL or by the name of a model."""
import hashlib
import os
import re
import tempfile
from contextlib import contextmanager
from functools import partial
from typing import Callable, Iterator, Tuple
from urllib.parse import urlparse

import torch
from huggingface_hub import HfApi, hf_hub_download, try_to_load_from_cache
from huggingface_hub.constants import SAFETENSORS_SINGLE_FILE
from huggingface_hub.errors import (GatedRepoError, HfHubHTTPError,
                                    LocalEntryNotFoundError,
                                    RepositoryNotFoundError)
from mmengine import fileio
from mmengine.dist import get_dist_info
from mmengine.runner import checkpoint as hub
from torch.hub import download_url_to_file, get_dir


def _find_url(name: str) -> str:
    """Look up the URL of a model that MMEngine knows by name."""
    scheme, _, model = name.partition('://')
    if scheme in ('modelzoo', 'torchvision'):
        return hub.get_torchvision_models()[model]
    if scheme == 'mmcls':
        return hub.get_mmcls_models()[model]
    if scheme in ('open-mmlab', 'openmmlab'):
        model = hub.get_deprecated_model_names().get(model, model)
        url = hub.get_external_models()[model]
        if '://' not in url:
            url = os.path.join(hub._get_mmengine_home(), url)
        return url
    return name


def _download(url: str) -> str:
    """Download a file once for all processes of this machine, and keep it.

    URLs with the same file name get different files.
    """
    digest = hashlib.sha256(url.encode()).hexdigest()[:16]
    name = os.path.basename(urlparse(url).path)
    path = os.path.join(get_dir(), 'checkpoints', f'{digest}-{name}')

    def fetch() -> str:
        if not os.path.exists(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            download_url_to_file(url, path, progress=os.isatty(2))
        return path

    return fetch_in_turn(fetch)


def fetch_in_turn(fetch: Callable[[], str]) -> str:
    """Let the first process of a machine fetch a file before the others."""
    rank, world_size = get_dist_info()
    path = None
    try:
        if int(os.environ.get('LOCAL_RANK', rank)) == 0:
            path = fetch()
    finally:
        if world_size > 1:
            torch.distributed.barrier()
    return path or fetch()


def _fetch_from_hub(repository: str, *files: str) -> str:
    """Get the first of some files that exists in a repository of the hub.

    A file that was downloaded before is found without a request to the hub.
    """
    found = (try_to_load_from_cache(repository, file) for file in files)
    for path in found:
        if isinstance(path, str):
            return path
    # Fails at once without a network; a download would retry for 47 seconds.
    there = {
        file.rfilename
        for file in HfApi().model_info(repository, timeout=10).siblings
    }
    for file in files:
        if file in there:
            return hf_hub_download(repository, file)
    raise ValueError(f"'{repository}' has no file {' or '.join(files)}")


def _safe_first(file: str) -> Tuple[str, ...]:
    """Put the safetensors file, which cannot hold code, before a file."""
    stem = os.path.splitext(file)[0]
    stem = re.sub('(?<!open_clip_)pytorch_model$', 'model', stem)
    stem = stem.replace('open_clip_pytorch_model', 'open_clip_model')
    return tuple(dict.fromkeys([f'{stem}.safetensors', file]))


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
    if not repository:
        return pretrained.download_pretrained(cfg)
    files = [file] if file else [
        constants.HF_SAFE_WEIGHTS_NAME, constants.HF_WEIGHTS_NAME
    ]
    return _fetch_from_hub(repository, *files)


def _fetch_timm(name: str) -> str:
    """Download weights by timm's name of a model, with or without a tag."""
    # The import takes a second, and other names do not need it.
    from timm.models import get_pretrained_cfg
    cfg = get_pretrained_cfg(name)
    if cfg is None or not (cfg.hf_hub_id or cfg.url):
        raise ValueError(f"timm has no weights of '{name}'")
    if not cfg.hf_hub_id:
        return _download(cfg.url)
    return _fetch_from_hub(
        cfg.hf_hub_id, *_safe_first(cfg.hf_hub_filename
                                    or 'pytorch_model.bin'))


def _fetch_hugging_face(name: str) -> str:
    """Download ``owner/repository/path`` from the hub, or, without a path, the
    weights of a shared model."""
    owner, _, rest = name.partition('/')
    repository, _, file = rest.partition('/')
    if not owner or not repository:
        raise ValueError(f"'{name}' is neither owner/repository/file nor "
                         'owner/repository')
    return _fetch_from_hub(f'{owner}/{repository}', file
                           or SAFETENSORS_SINGLE_FILE)


# Hubs whose own packages download and cache files, by prefix of a name.
HUBS = {
    'open_clip:': _fetch_open_clip,
    'timm:': _fetch_timm,
    'hf:': _fetch_hugging_face
}


@contextmanager
def _temporary(content: bytes, name: str) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, os.path.basename(name))
        with open(path, 'wb') as file:
            file.write(content)
        yield path


def _get(url: str) -> bytes:
    """Get a file from one of MMEngine's other storages."""
    if url.startswith('pavi://'):
        from pavi import modelcloud
        model = modelcloud.get(url[len('pavi://'):])
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, model.name)
            model.download(path)
            with open(path, 'rb') as file:
                return file.read()
    try:
        return fileio.get(url)
    except KeyError:
        scheme = url.partition('://')[0]
        raise ValueError(f"MMEngine has no storage '{scheme}://'") from None


def hash_file(name: str) -> str:
    """Compute the SHA-256 of a file, see :func:`local_copy`."""
    digest = hashlib.sha256()
    with local_copy(name) as path, open(path, 'rb') as file:
        for block in iter(lambda: file.read(1 << 20), b''):
            digest.update(block)
    return digest.hexdigest()


def explain_hub(error: Exception) -> str:
    """Explain in one line why a request to a hub failed."""
    login = ('log in with `hf auth login`, or set HF_TOKEN, with a token that '
             'allows this')
    if isinstance(error, GatedRepoError):
        return 'ask for access on its page at the hub, and ' + login
    if isinstance(error, RepositoryNotFoundError):
        return 'there is no such repository, or it is private: ' + login
    status = getattr(getattr(error, 'response', None), 'status_code', None)
    if isinstance(error, HfHubHTTPError) and status in (401, 403):
        return 'the hub refuses it: ' + login
    reason = str(error).strip().split('\n')[0] or type(error).__name__
    # From httpx or requests, depending on the release of the hub's package.
    is_offline = type(error).__name__.startswith('Connect')
    if is_offline or isinstance(error, LocalEntryNotFoundError):
        return f'there is no connection to the hub: {reason}'
    return reason


@contextmanager
def explaining_fetch(name: str, kind: str = 'weight file') -> Iterator[None]:
    """Turn any failure to fetch something into one clear error."""
    try:
        yield
    except Exception as error:  # Its type depends on the storage.
        raise ValueError(
            f"{kind} '{name}' cannot be fetched; fix its URL or download "
            f'it and give its path ({explain_hub(error)})') from None


@contextmanager
def local_copy(name: str) -> Iterator[str]:
    """Fetch a file if it is remote, without reading its content.

    Args:
        name (str): A path, also of the folder of a shared model; a URL; the
            name of a model, see MMEngine's ``CheckpointLoader``; or a file at
            a hub: ``open_clip:MODEL/TAG``, ``timm:MODEL.TAG``,
            ``hf:OWNER/REPOSITORY/FILE`` or, for a shared model,
            ``hf:OWNER/REPOSITORY``.

    Yields:
        str: Path of the local file. A downloaded file is removed if reading
        it raises a ValueError.

    Raises:
        ValueError: The file cannot be fetched.
    """
    for hub_name, fetch in HUBS.items():
        if name.startswith(hub_name):
            with explaining_fetch(name):
                path = fetch_in_turn(partial(fetch, name[len(hub_name):]))
            yield path
            return
    if '://' not in name:
        path = os.path.expanduser(name)
        inside = os.path.join(path, SAFETENSORS_SINGLE_FILE)
        yield inside if os.path.isfile(inside) else path
        return
    try:
        url = _find_url(name)
    except KeyError:
        raise ValueError(f"weight file '{name}': there is no model of that "
                         'name; fix it') from None
    with explaining_fetch(name):
        if url.startswith(('http://', 'https://')):
            path, content = _download(url), None
        elif '://' in url:
            path, content = None, _get(url)
        else:
            path, content = url, None
    if content is not None:
        with _temporary(content, url) as path:
            yield path
        return
    try:
        yield path
    except ValueError:
        # Otherwise the damaged file would be used again next time.
        if path != url and os.path.exists(path):
            os.remove(path)
        raise
