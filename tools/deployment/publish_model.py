"""Write a model to a folder that others can use, and optionally push it.

The folder contains config.json, model.safetensors and README.md, a model card
with known facts about the training; please complete it. None of these files
contains local paths.
"""
import argparse
import os
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from arguments import add_config_arguments  # noqa: E402
from arguments import check_file, check_output_folder  # noqa: E402


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser, 'config file of the model')
    parser.add_argument(
        'checkpoint', help='weights of the model; averaged ones if present')
    parser.add_argument('folder', help='folder to write, empty or missing')
    parser.add_argument(
        '--license',
        help='licence of the model, such as apache-2.0; default: left to be '
        'filled in')
    parser.add_argument(
        '--push',
        metavar='OWNER/NAME',
        help="repository of Hugging Face's hub to push the model to; it is "
        'created if it does not exist')
    parser.add_argument(
        '--private',
        action='store_true',
        help='with --push, create a private repository')
    args = parser.parse_args()
    if args.private and not args.push:
        sys.exit('--private needs --push')
    if args.push and not re.fullmatch(r'[\w.-]+/[\w.-]+', args.push):
        sys.exit(f"--push '{args.push}' is not OWNER/NAME")
    check_file(args.checkpoint, 'Checkpoint')
    if os.path.isdir(args.folder) and os.listdir(args.folder):
        sys.exit(f"'{args.folder}' is not empty. Please choose another "
                 'folder, or empty this one')
    check_output_folder(args.folder)
    return args


def main() -> None:
    args = parse_args()
    from projects.ila.analysis.training_record import describe_run
    from projects.ila.apis import load_recognizer
    from projects.ila.cli import exit_on_bad_input, load_overridden_config
    from projects.ila.models.recognizers.hub_mixin import check_token
    cfg = load_overridden_config(args)
    with exit_on_bad_input():
        if args.push:
            check_token()
        model = load_recognizer(cfg.get('model'), args.checkpoint)
        model.cfg = cfg
        card = dict(describe_run(args.checkpoint, cfg), license=args.license)
        model.save_pretrained(
            args.folder, repo_id=args.push, model_card_kwargs=card)
        print(f'written to {args.folder}. Please complete '
              f"{os.path.join(args.folder, 'README.md')}")
        if args.push:
            url = model.push_to_hub(
                args.push,
                private=args.private or None,
                model_card_kwargs=card)
            print(f'pushed to {url}')


if __name__ == '__main__':
    main()
