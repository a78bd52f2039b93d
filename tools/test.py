"""Test a recognizer, with the arguments of MMAction2's ``tools/test.py``.

It also accepts ``--allow-new-keys``.
"""
import argparse
from pathlib import Path

from arguments import (add_config_arguments, add_launcher_arguments,
                       check_file, check_outputs, check_work_dir,
                       refuse_shared, set_local_rank)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser, 'config file of the test')
    parser.add_argument('checkpoint', help='the weights')
    parser.add_argument(
        '--work-dir',
        help='folder of the logs; default: `work_dir` of the config, '
        'or work_dirs/CONFIG')
    parser.add_argument('--dump', help='pickle file for the predictions')
    parser.add_argument('--show-dir', help='folder for pictures of videos')
    parser.add_argument(
        '--show', action='store_true', help='show the pictures in a window')
    parser.add_argument(
        '--interval',
        type=int,
        default=1,
        help='videos from one picture to the next; default: %(default)s')
    parser.add_argument(
        '--wait-time',
        type=float,
        default=2,
        help='seconds for which each picture is shown; default: %(default)s')
    add_launcher_arguments(parser)
    args = parser.parse_args()
    refuse_shared(args.config)
    set_local_rank(args)
    if args.dump:
        check_outputs(args.dump, suffixes=('.pkl', '.pickle'))
    sharded = Path(args.checkpoint, 'weights.pth')
    if sharded.is_file():
        args.checkpoint = str(sharded)
    check_file(args.checkpoint, 'Checkpoint')
    return args


def main() -> None:
    args = parse_args()
    from projects.ila import cli
    from projects.ila.apis import read_weights
    from projects.ila.engine.num_classes import check_num_classes
    from projects.ila.engine.process_group import leave_process_group
    from projects.ila.utils.config_keys import check_needed
    from projects.ila.weights import adopt_stem
    cfg = cli.load_config(args)
    cfg = cli.merge_args(cli.load_mmaction_tool('test.py'), cfg, args)
    cfg.launcher = args.launcher
    if args.cfg_options is not None:
        cli.merge_options(cfg, args.cfg_options)
    check_needed(args.config, cfg, 'model')
    default_work_dir = Path('work_dirs', Path(args.config).stem)
    cfg.work_dir = args.work_dir or cfg.get('work_dir', str(default_work_dir))
    check_work_dir(cfg.work_dir, args.config)

    for key in ('strategy', 'runner_type'):
        cfg.pop(key, None)  # Models are not sharded in a test.
    cli.leave_out_averaging(cfg)

    with cli.exit_on_bad_input():
        weights = read_weights(args.checkpoint)
        cfg.model = adopt_stem(cfg.model, weights)
    runner = cli.build_runner(cfg)
    check_num_classes(cfg, runner, 'test')
    with cli.exit_on_bad_input():
        cli.load_all_weights(runner, weights, args.checkpoint)
    with cli.exit_on_bad_start(runner), cli.keep_predictions(
            runner, args.dump):
        runner.test()
    del runner
    leave_process_group()


if __name__ == '__main__':
    main()
