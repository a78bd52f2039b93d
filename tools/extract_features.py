"""Embed videos: write one feature per video to an .npz or .parquet file.

The former has `files` (N) and `features` (N, E), float32 of length 1, the
latter the columns `file` and `feature`. Started again, it goes on with the
videos that are not in the file yet.
"""
import argparse
import hashlib
import os
import re
import sys
import time
from importlib.util import find_spec

from arguments import (add_inference_arguments, check_outputs,
                       exit_on_failures, start_inference)

SAVE_EVERY = 60  # seconds


def read_npz(path: str) -> tuple:
    """Read names, features and what these depend on."""
    import numpy as np
    with np.load(path, allow_pickle=False) as file:
        return (file['files'].tolist(), file['features'], str(file['model']))


def write_npz(path: str, files: list, features: object, model: str) -> None:
    import numpy as np
    with open(path, 'wb') as file:
        np.savez(file, files=files, features=features, model=model)


def read_parquet(path: str) -> tuple:
    """Read what :func:`read_npz` does."""
    import numpy as np
    from pyarrow.parquet import read_table
    table = read_table(path)
    features = np.array(table['feature'].to_pylist(), np.float32)
    # Bytes of names that are not UTF-8.
    files = [
        re.sub(r'\\udc([0-9a-f]{2})', lambda x: chr(0xdc00 + int(x[1], 16)),
               name) for name in table['file'].to_pylist()
    ]
    model = (table.schema.metadata or dict())[b'model']
    return files, features, model.decode()


def write_parquet(path: str, files: list, features: object,
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
    '.npz': (read_npz, write_npz),
    '.parquet': (read_parquet, write_parquet)
}


class FeatureFile:
    """Features by video, which come one after the other.

    Args:
        path (str): The file, which is read if it is there.
        model (str): What features depend on; they are of one kind.

    Raises:
        ValueError: The file holds other features, or something else.
    """

    def __init__(self, path: str, model: str) -> None:
        self.path, self.model = path, model
        read, self.write = FORMATS[os.path.splitext(path)[1]]
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

    def add(self, file: str, feature: object) -> None:
        """Keep a feature ``(E, )``, and save all from time to time."""
        self.features[file] = feature
        if time.monotonic() - self.saved >= SAVE_EVERY:
            self.save()

    def save(self) -> None:
        """Write all features, or leave the earlier file as it is."""
        import numpy as np

        from projects.ila.utils import replacing
        if not self.features:
            return
        with replacing(self.path) as partial:
            self.write(partial, list(self.features),
                       np.stack(list(self.features.values())), self.model)
        self.saved = time.monotonic()


def describe_model(cfg: object, checkpoint: str) -> str:
    """Make a text that differs where a model gives other features."""
    from projects.ila.weights.remote_file import hash_file
    parts = [
        cfg.model.get(name)
        for name in ('backbone', 'neck', 'data_preprocessor', 'test_cfg')
    ]
    parts += ['bf16'] if cfg.model.get('bf16') else []
    parts += [cfg.test_dataloader.dataset.pipeline, hash_file(checkpoint)]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_inference_arguments(parser)
    parser.add_argument(
        '--out',
        required=True,
        help='file for the features, .npz or, with pyarrow, .parquet')
    args = parser.parse_intermixed_args()
    check_outputs(args.out, suffixes=tuple(FORMATS))
    if args.out.endswith('.parquet') and find_spec('pyarrow') is None:
        sys.exit('parquet files need pyarrow. Please install it, pip install '
                 'pyarrow, or give --out a name that ends with .npz')
    return args


def main() -> None:
    args = parse_args()
    cfg = start_inference(args)
    from projects.ila.apis import ILAInferencer
    from projects.ila.cli import exit_on_bad_input
    errors = []
    with exit_on_bad_input():
        inferencer = ILAInferencer(
            cfg,
            args.checkpoint,
            args.device,
            show_progress=sys.stderr.isatty())
        output = FeatureFile(args.out, describe_model(cfg, args.checkpoint))
        videos = inferencer.list_videos(args.paths)
        missing = [x for x in videos if x.name not in output.features]
        print(f'{len(videos)} videos, {len(missing)} of them not done yet')
        try:
            for result in inferencer.iterate_embeddings(
                    missing, args.batch_size) if missing else []:
                if 'error' in result:
                    errors.append(result)
                else:
                    output.add(result['file'], result['embedding'])
        except KeyboardInterrupt:
            sys.exit(130)
        finally:
            output.save()
            print(f'{len(output.features)} features are in {args.out}')
    exit_on_failures(errors, len(missing))


if __name__ == '__main__':
    main()
