"""Files with one feature per video, which grow as videos are embedded."""
import hashlib
import os
import re
import time

import numpy as np
from mmengine.config import Config

from ..utils import replacing
from ..utils.config_datasets import find_pipeline
from ..weights.remote_file import hash_file

SAVE_EVERY = 60  # seconds


def _read_npz(path: str) -> tuple:
    """Read file names, features and the description of the model."""
    with np.load(path, allow_pickle=False) as file:
        return (file['files'].tolist(), file['features'], str(file['model']))


def _write_npz(path: str, files: list, features: np.ndarray,
               model: str) -> None:
    with open(path, 'wb') as file:
        np.savez(file, files=files, features=features, model=model)


def _read_parquet(path: str) -> tuple:
    """Read the same as :func:`_read_npz`."""
    from pyarrow.parquet import read_table
    table = read_table(path)
    features = np.array(table['feature'].to_pylist(), np.float32)
    # Restore bytes of names that are not UTF-8.
    files = [
        re.sub(r'\\udc([0-9a-f]{2})', lambda x: chr(0xdc00 + int(x[1], 16)),
               name) for name in table['file'].to_pylist()
    ]
    model = (table.schema.metadata or dict())[b'model']
    return files, features, model.decode()


def _write_parquet(path: str, files: list, features: np.ndarray,
                   model: str) -> None:
    import pyarrow
    from pyarrow.parquet import write_table
    names = [
        file.encode('utf-8', 'backslashreplace').decode() for file in files
    ]
    values = pyarrow.FixedSizeListArray.from_arrays(
        pyarrow.array(features.ravel()), features.shape[1])
    table = pyarrow.table(dict(file=names, feature=values))
    write_table(table.replace_schema_metadata(dict(model=model)), path)


FORMATS = {
    '.npz': (_read_npz, _write_npz),
    '.parquet': (_read_parquet, _write_parquet)
}


class FeatureFile:
    """Features by video, which are added one after the other.

    Args:
        path (str): The file, which is read if it exists.
        model (str): Description of the model, see :func:`describe_model`. All
            features of a file are from the same model.

    Raises:
        ValueError: The file holds features of another model, or is no such
            file.
    """

    def __init__(self, path: str, model: str) -> None:
        self.path, self.model = path, model
        read, self.write = FORMATS['.' + path.rpartition('.')[2]]
        self.features, self.saved = dict(), time.monotonic()
        if not os.path.exists(path):
            return
        try:
            files, features, other = read(path)
            if features.shape[:-1] != (len(files), ):
                raise ValueError('there is not one feature per video')
        except Exception as error:  # Its type depends on what it holds.
            if isinstance(error, OSError) and error.errno:
                raise
            raise ValueError(f"'{path}' holds no features of this tool, or is "
                             'damaged; choose another name') from None
        if other != model:
            raise ValueError(
                f"'{path}' holds features of another checkpoint, or of other "
                'settings of the model or its test pipeline; choose another '
                'name, or remove it')
        self.features.update(zip(files, features))

    def add(self, file: str, feature: np.ndarray) -> None:
        """Add a feature ``(E, )``, and save the file from time to time."""
        self.features[file] = feature
        if time.monotonic() - self.saved >= SAVE_EVERY:
            self.save()

    def save(self) -> None:
        """Write all features; on failure, the earlier file is kept.

        Raises:
            ValueError: The file cannot be written.
        """
        if not self.features:
            return
        try:
            with replacing(self.path) as partial:
                self.write(partial, list(self.features),
                           np.stack(list(self.features.values())), self.model)
        except OSError as error:
            raise ValueError(
                f"cannot write '{self.path}': {error.strerror or error}; fix "
                'this, for instance make room on the disk, and start again') \
                from error
        self.saved = time.monotonic()


def describe_model(cfg: Config, checkpoint: str) -> str:
    """Hash everything in a config and checkpoint that affects features."""
    parts = [
        cfg.model.get(name)
        for name in ('backbone', 'neck', 'data_preprocessor', 'test_cfg')
    ]
    parts += ['bf16'] if cfg.model.get('bf16') else []
    parts += [find_pipeline(cfg, 'test'), hash_file(checkpoint)]
    return hashlib.sha256(repr(parts).encode()).hexdigest()
