"""Show a model's predictions and alignment of videos on a web page.

The page can be opened only on this machine, unless --host is given. Uploads
and results are removed when their page is closed, and all of them at the end.
"""
import argparse
import math
import os
import re
import signal
import sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import projects.ila


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='python -m projects.ila.demo', description=__doc__)
    parser.add_argument(
        'config',
        help='config file of the model, or the name of a config of this '
        'project')
    parser.add_argument(
        'checkpoint',
        nargs='?',
        help="the model's weights; `load_from` of the config by default")
    parser.add_argument(
        '--classes',
        help="class names, 'one,two' or a text file with one per line: other "
        "classes for a text head, names for a linear head's labels")
    parser.add_argument(
        '--samples',
        nargs='+',
        default=[],
        metavar='VIDEO',
        help='videos to choose from on the page')
    parser.add_argument(
        '--host',
        default='127.0.0.1',
        help='address to listen on, 0.0.0.0 for all of this machine; '
        'default: %(default)s')
    parser.add_argument(
        '--port', type=int, default=7860, help='default: %(default)s')
    parser.add_argument(
        '--max-seconds',
        type=float,
        default=60,
        help='longer videos are refused; default: %(default)s')
    parser.add_argument(
        '--max-mb',
        type=float,
        default=100,
        help='larger files are refused; default: %(default)s')
    parser.add_argument(
        '--device',
        default='auto',
        help='such as cpu or cuda:1; default: %(default)s, a GPU if available')
    args = parser.parse_args()
    for name in ('max_seconds', 'max_mb'):
        if not 0 < getattr(args, name) < math.inf:
            parser.error(f"--{name.replace('_', '-')} must be more than 0")
    if not 0 < args.port < 2**16:
        parser.error(f'--port must be from 1 to {2**16 - 1}')
    return args


def check_inputs(args: argparse.Namespace) -> None:
    """Exit if packages or files are missing."""
    if find_spec('gradio') is None:
        sys.exit('the page needs gradio. Please install it: '
                 'pip install gradio')
    for path in filter(None, (args.checkpoint, *args.samples)):
        is_remote = re.match(r'[\w-]{2,}:', path)
        is_shared = Path(path, 'model.safetensors').is_file()
        if not (is_remote or is_shared or Path(path).is_file()):
            sys.exit(f'File not found: {path}. Please check its path, which '
                     f'is taken from {Path.cwd()}')


def serve(args: argparse.Namespace, folder: str) -> None:
    """Load the model and show the page until the process is ended.

    Args:
        args (Namespace): The command line.
        folder (str): Folder for all uploads and results.
    """
    # Gradio reads these variables when it is imported.
    os.environ.update(GRADIO_TEMP_DIR=folder, GRADIO_ANALYTICS_ENABLED='False')
    projects.ila.register_all()
    from projects.ila.apis import ILAInferencer
    from projects.ila.demo.page import CSS, HEAD, THEME, build_page
    from projects.ila.engine.console import hide_details
    hide_details()
    try:
        inferencer = ILAInferencer(
            args.config,
            args.checkpoint,
            args.device,
            args.classes,
            show_progress=False)
        if inferencer.weights is None:
            raise ValueError(f'{args.config} has no `load_from`; give a '
                             'checkpoint after the config')
        if inferencer.model.compiled:
            raise ValueError(f'{args.config}: what is within a compiled '
                             'network cannot be drawn; take a config '
                             'without `model.compile`')
        page = build_page(inferencer, folder, args.samples, args.max_seconds,
                          args.max_mb)
    except (FileNotFoundError, ValueError) as error:
        sys.exit(str(error))
    try:
        _, url, _ = page.launch(
            server_name=args.host,
            server_port=args.port,
            share=False,
            # Show errors to the user, who can fix them.
            show_error=True,
            # Gradio uses MiB; the page itself checks in MB.
            max_file_size=int(args.max_mb * 2**20),
            footer_links=[],
            ssr_mode=False,
            theme=THEME,
            css=CSS,
            head=HEAD,
            quiet=True,
            prevent_thread_lock=True)
    except OSError:  # Gradio's own message names other arguments.
        sys.exit(f'--port {args.port} of --host {args.host} cannot be used, '
                 'another program may have it. Please choose another one')
    print(f'The page is at {url}, until Ctrl+C', flush=True)
    page.block_thread()


def main() -> None:
    args = parse_args()
    check_inputs(args)
    # Exit cleanly, so that the folder is removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with TemporaryDirectory(prefix='ila_demo_') as folder:
        serve(args, folder)


if __name__ == '__main__':
    main()
