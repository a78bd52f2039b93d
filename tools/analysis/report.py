"""Report on a test: accuracy, classes, mistakes, calibration, baseline."""
import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from arguments import add_override_arguments  # noqa: E402
from arguments import existing_config  # noqa: E402
from arguments import check_file, check_output_folder  # noqa: E402


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('dump', help='predictions of tools/test.py --dump')
    parser.add_argument(
        '--config',
        type=existing_config,
        help='config of the test, to get names of classes and videos')
    add_override_arguments(parser)
    parser.add_argument(
        '--classes',
        help="class names, 'one,two' or a text file with one per line; "
        'default: the names of --config')
    parser.add_argument(
        '--baseline',
        metavar='DUMP',
        help='predictions of another model for the same videos')
    parser.add_argument('--out', required=True, help='folder of the report')
    args = parser.parse_args()
    for path in filter(None, (args.dump, args.baseline)):
        check_file(path, 'Dump')
    check_output_folder(args.out)
    return args


def main() -> None:
    args = parse_args()
    from projects.ila.analysis import predictions as reading
    from projects.ila.analysis.report import Report
    from projects.ila.cli import exit_on_bad_input, load_overridden_config
    from projects.ila.datasets.annotations import write_files
    from projects.ila.models.text import parse_class_names
    from projects.ila.visualization import accuracy as drawing
    folder, classes, baseline = Path(args.out), None, None
    with exit_on_bad_input():
        predictions = reading.read_predictions(args.dump)
        if args.baseline:
            baseline = reading.read_predictions(args.baseline)
        if args.config:
            cfg = load_overridden_config(args)
            classes = reading.class_names_of(cfg)
            predictions = reading.add_files(predictions, cfg)
        if args.classes:
            classes = parse_class_names(args.classes)
        report = Report(predictions, classes, baseline)
        write_files({
            str(folder / name): text
            for name, text in report.texts().items()
        })
        figures = dict(
            confusion=drawing.draw_confusion(report.matrix, report.classes))
        if report.calibration:
            figures['calibration'] = drawing.draw_reliability(
                report.calibration)
        for name, figure in figures.items():
            figure.savefig(
                folder / f'{name}.png', dpi=120, bbox_inches='tight')
    for name, text in report.summarize():
        print(f'{name:31} {text}')
    print(f"{folder / 'report.md'}")


if __name__ == '__main__':
    main()
