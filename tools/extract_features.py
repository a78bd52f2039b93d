"""Embed videos: write one feature per video to an .npz or .parquet file.

An .npz file has `files` (N) and `features` (N, E), float32 of length 1; a
.parquet file has the columns `file` and `feature`. If the tool is started
again, it continues with the videos that are not in the file yet.
"""
import argparse
import sys
from importlib.util import find_spec

from arguments import (add_inference_arguments, check_outputs,
                       exit_on_failures, start_inference)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_inference_arguments(parser)
    parser.add_argument(
        '--out',
        required=True,
        help='file for the features, .npz or, with pyarrow, .parquet')
    args = parser.parse_intermixed_args()
    check_outputs(args.out, suffixes=('.npz', '.parquet'))
    if args.out.endswith('.parquet') and find_spec('pyarrow') is None:
        sys.exit('parquet files need pyarrow. Please install it, pip install '
                 'pyarrow, or give --out a name that ends with .npz')
    return args


def main() -> None:
    args = parse_args()
    cfg = start_inference(args)
    from projects.ila.apis import ILAInferencer
    from projects.ila.apis.feature_file import FeatureFile, describe_model
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
            if output.features:
                print(f'{len(output.features)} features are in {args.out}')
    exit_on_failures(errors, len(missing))


if __name__ == '__main__':
    main()
