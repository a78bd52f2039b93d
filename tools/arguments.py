"""Arguments that the tools share, with the standard library only.

The tools import PyTorch and MMAction2 after their arguments are parsed, so
that help and errors in arguments appear at once.
"""
import errno
import os
import re
import signal
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path
from typing import Optional, Sequence

ROOT = Path(__file__).resolve().parents[1]
# Find this repository's `projects` from any working directory.
sys.path.insert(0, str(ROOT))


def setting(text: str) -> str:
    """Check one value of ``--cfg-options``."""
    if '=' not in text:
        raise ArgumentTypeError(f"'{text}' is not key=value")
    return text


def add_override_arguments(parser: ArgumentParser) -> None:
    """Let a tool accept settings, which ``projects.ila.cli`` parses."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action='extend',
        type=setting,
        metavar='KEY=VALUE',
        help='override settings of the config, as in MMAction2: '
        'model.key=1, key="[a,b]" or key=a,b for lists')
    parser.add_argument(
        '--allow-new-keys',
        action='store_true',
        help='accept keys that no known part of the program reads')


def find_own_config(name: str) -> Optional[str]:
    """Look up a config of this project by its name."""
    own = ROOT / 'configs' / f"{name.removesuffix('.py')}.py"
    return None if Path(name).exists() or not own.is_file() else str(own)


def existing_config(path: str) -> str:
    """Check the path of a config, or look up a config of this project."""
    own = find_own_config(path)
    if own is None and not Path(path, 'config.json').is_file():  # Shared.
        check_file(path, 'Config')
    return own or path


def refuse_shared(config: str) -> None:
    """Exit if a run gets a shared model as config, which names no data."""
    if not Path(config).is_file() or Path(config).name == 'config.json':
        sys.exit(
            f"'{config}' is a shared model, which has no data set. Please "
            'give a config, and the model as its checkpoint: '
            '--cfg-options load_from=MODEL for a training')


def add_config_arguments(parser: ArgumentParser, help: str) -> None:
    """Let a tool accept a config and settings that override it."""
    parser.add_argument(
        'config',
        type=existing_config,
        help=f'{help}, the name of a config of this project, such as '
        'ila_vitb16_k400, or a shared model: its folder or '
        'hf:OWNER/REPOSITORY')
    add_override_arguments(parser)


def add_inference_arguments(parser: ArgumentParser) -> None:
    """Let a tool run a model on videos; see :func:`find_checkpoint`."""
    add_config_arguments(parser, 'config file of the model')
    parser.add_argument(
        'checkpoint',
        nargs='?',
        help="the model's weights: a file, a URL, open_clip:MODEL/TAG, "
        'timm:MODEL.TAG or hf:OWNER/REPOSITORY/FILE; by default `load_from` '
        'of the config, or the weights of the shared model')
    parser.add_argument(
        'paths',
        nargs='+',
        help='videos, folders of videos or of frames, or quoted patterns, '
        'such as "videos/*.mp4"')
    parser.add_argument(
        '--batch-size',
        type=int,
        default=1,
        help='videos or windows in a batch; default: %(default)s')
    add_device_argument(parser)


def add_device_argument(parser: ArgumentParser) -> None:
    """Let a tool choose the device of its model."""
    parser.add_argument(
        '--device',
        default='auto',
        help='such as cpu or cuda:1; default: %(default)s, a GPU if available')


def find_checkpoint(args: Namespace, load_from: Optional[str]) -> None:
    """Distinguish the checkpoint, which is optional, from the videos.

    Args:
        args (Namespace): Its ``checkpoint`` and ``paths`` are corrected.
        load_from (str, optional): The checkpoint that the config names.
    """
    from projects.ila.datasets.search import names_videos
    if (args.checkpoint is not None and names_videos(args.checkpoint)
            and not holds_weights(args.checkpoint)
            and not find_checkpoints(args.checkpoint)):
        args.paths.insert(0, args.checkpoint)
        args.checkpoint = None
    if args.checkpoint is None:
        args.checkpoint = load_from
    if args.checkpoint is None:
        sys.exit(f'{args.config} has no `load_from`. Please give a checkpoint '
                 'before the videos')
    check_file(args.checkpoint, 'Checkpoint')
    for path in args.paths:
        if path.endswith(('.pth', '.pt', '.safetensors')):
            sys.exit(f"'{path}' is not a video. Please give the checkpoint "
                     'before the videos')


def exit_on_sigterm() -> None:
    """Let SIGTERM, with which batch systems end jobs, raise SystemExit, so
    that files are completed and child processes ended."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def start_inference(args: Namespace) -> object:
    """Prepare to run a model on videos.

    Args:
        args (Namespace): From :func:`add_inference_arguments`; see
            :func:`find_checkpoint`.

    Returns:
        Config: The config, with its overrides.
    """
    sys.stdout.reconfigure(errors='backslashreplace')  # For odd file names.
    exit_on_sigterm()
    from projects.ila.cli import load_overridden_config
    cfg = load_overridden_config(args)
    find_checkpoint(args, cfg.get('load_from'))
    return cfg


def exit_on_failures(errors: Sequence[dict], count: int) -> None:
    """Exit with a list of the failed videos, if any of ``count`` failed."""
    if errors:
        lines = [f'{len(errors)} of {count} failed:']
        lines += [f"{error['file']}: {error['error']}" for error in errors]
        sys.exit('\n'.join(lines))


def add_launcher_arguments(parser: ArgumentParser) -> None:
    """Let a tool run as one of several processes."""
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='launcher of the processes; default: %(default)s')
    parser.add_argument(
        '--local_rank',
        '--local-rank',
        type=int,
        default=0,
        help='number of the process on this machine, set by the launcher; '
        'default: %(default)s')


def set_local_rank(args: Namespace) -> None:
    """Pass the process's number to MMEngine; exit without a launcher."""
    if args.launcher == 'pytorch' and 'RANK' not in os.environ:
        sys.exit('--launcher pytorch is for processes that torchrun starts; '
                 'use tools/dist_train.sh or tools/dist_test.sh')
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))


def holds_weights(path: str) -> bool:
    """Whether a path is the folder of a shared model."""
    return Path(path, 'model.safetensors').expanduser().is_file()


def find_checkpoints(path: str) -> Sequence[str]:
    """Find the checkpoints in a run's folder, by time, with the best last."""
    return sorted(
        map(str,
            Path(path).expanduser().glob('*.pth')),
        key=lambda name: ('best_' in name, os.path.getmtime(name)))


def check_file(path: str, kind: str) -> None:
    """Exit if a local file, or the weights in a folder, are missing."""
    checkpoints = find_checkpoints(path)
    if checkpoints:
        sys.exit(f"'{path}' is the folder of a run. Please give one of its "
                 f'checkpoints, such as {checkpoints[-1]}')
    # A drive has a single letter before the colon.
    is_remote = re.match(r'[\w-]{2,}:', path)
    if not (is_remote or Path(path).expanduser().is_file()
            or holds_weights(path)):
        sys.exit(f'{kind} file not found: {path}. Please check its path, '
                 f'which is taken from {Path.cwd()}')


def check_outputs(*paths: Optional[str], suffixes: Sequence[str] = ()) -> None:
    """Exit before the work starts if its results could not be written.

    Folders of the files are created; existing files are not changed.

    Args:
        *paths (str | None): Files; None means that a file is not wanted.
        suffixes (Sequence[str]): Allowed extensions. Defaults to any.
    """
    for path in filter(None, paths):
        if suffixes and not path.endswith(tuple(suffixes)):
            sys.exit(f"cannot write '{path}': its name must end with "
                     f"{' or '.join(suffixes)}; choose another name")
        try:
            if os.path.isdir(path):
                raise IsADirectoryError(errno.EISDIR, 'it is a folder')
            if os.path.exists(path) and not os.path.isfile(path):
                raise OSError(errno.EINVAL, 'it is not a regular file')
            _try_to_write(path)
        except OSError as error:
            sys.exit(f"cannot write '{path}': {error.strerror}; choose "
                     'another place or fix this')


def check_absent(paths: Sequence[str], force: bool) -> None:
    """Exit if files exist that would be replaced, unless ``force`` is set."""
    existing = [path for path in paths if os.path.exists(path)]
    if existing and not force:
        sys.exit(f'{existing[0]} exists already; give another --out or '
                 'replace it with --force')


def check_inputs_stay(outputs: Sequence[str],
                      inputs: Sequence[Optional[str]]) -> None:
    """Exit if an output would replace an input; None means not given."""
    kept = {*map(os.path.realpath, filter(None, inputs))}
    for path in outputs:
        if os.path.realpath(path) in kept:
            sys.exit(f"'{path}' is an input, which would be replaced; give "
                     'another --out')


def check_output_folder(folder: str) -> None:
    """Exit before the work starts if files cannot be written to a folder.

    The folder is created.
    """
    try:
        _try_to_write(os.path.join(folder, 'output'))
    except OSError as error:
        sys.exit(f"cannot write to folder '{folder}': {error.strerror}; "
                 'choose another one or fix this')


def check_work_dir(folder: str, config: str) -> None:
    """Exit if a run cannot write to a folder, or would replace its config.

    A run keeps a copy of its config, with all settings, under the same name.
    """
    copy = os.path.join(folder, os.path.basename(config))
    if os.path.exists(copy) and os.path.samefile(copy, config):
        sys.exit(f"'{folder}' is the folder of {config}, which the run's copy "
                 'of it would replace; choose another folder with --work-dir')
    check_output_folder(folder)


def _try_to_write(path: str) -> None:
    """Create a path's folder, and briefly a file next to the path."""
    attempt = f'{path}.{os.getpid()}.partial'
    os.makedirs(os.path.dirname(path) or os.curdir, exist_ok=True)
    try:
        with open(attempt, 'wb') as file:
            file.write(b' ')
    finally:
        if os.path.exists(attempt):
            os.remove(attempt)
