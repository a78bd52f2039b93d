"""Test an exported recognizer on a config's videos, on the CPU.

The results correspond to those of ``tools/test.py`` with the checkpoint that
was exported: the data, views and metrics are the same.
"""
import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

# yapf: disable
from arguments import (add_config_arguments, check_file,  # noqa: E402
                       check_outputs, check_work_dir, exit_on_sigterm,
                       refuse_shared)

# yapf: enable


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser, 'config file of the test')
    parser.add_argument('file', help='exported .onnx or .pt2 file')
    parser.add_argument('--work-dir', help='folder of the logs')
    parser.add_argument('--dump', help='pickle file for the predictions')
    args = parser.parse_args()
    refuse_shared(args.config)
    check_file(args.file, 'Exported')
    check_outputs(args.dump, suffixes=('.pkl', '.pickle'))
    return args


def main() -> None:
    args = parse_args()
    exit_on_sigterm()
    from projects.ila import cli
    from projects.ila.apis import exported
    from projects.ila.engine.console import QuietRunner, summarize
    from projects.ila.engine.num_classes import check_num_classes
    cfg = cli.load_overridden_config(args, 'model', 'test_dataloader',
                                     'test_evaluator', 'test_cfg')
    evaluators = cfg.test_evaluator
    if not isinstance(evaluators, (list, tuple)):
        evaluators = [evaluators]
    if args.dump:
        evaluators = [
            *evaluators,
            dict(type='DumpResults', out_file_path=args.dump)
        ]
    work_dir = args.work_dir or cfg.get(
        'work_dir', str(Path('work_dirs',
                             Path(args.config).stem)))
    check_work_dir(work_dir, args.config)
    cli.leave_out_averaging(cfg)
    with cli.exit_on_bad_input():
        run, meta = exported.load_exported(args.file)
        exported.check_config(cfg, meta)
        model = exported.ExportedRecognizer(run, meta['num_classes'],
                                            cfg.model.cls_head,
                                            (cfg.model.get('test_cfg')
                                             or {}).get('max_testing_views'))
    with cli.exit_on_bad_config(cfg):
        runner = QuietRunner(
            model,
            work_dir,
            test_dataloader=cfg.test_dataloader,
            test_cfg=cfg.test_cfg,
            test_evaluator=evaluators,
            default_hooks=cfg.get('default_hooks'),
            custom_hooks=cfg.get('custom_hooks'),
            log_processor=cfg.get('log_processor'),
            default_scope=cfg.get('default_scope', 'mmaction'),
            randomness=cfg.get('randomness', dict(seed=None)),
            cfg=cfg)
    summarize(runner)
    check_num_classes(cfg, runner, 'test')
    with cli.exit_on_bad_start(runner), cli.keep_predictions(
            runner, args.dump):
        runner.test()


if __name__ == '__main__':
    main()
