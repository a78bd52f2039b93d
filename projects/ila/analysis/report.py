"""Report on a test: a summary, and tables of classes and mistakes."""
import csv
import io
from typing import Dict, Iterable, Iterator, List, Optional, Tuple

import numpy as np
from torch import Tensor

from mmaction.evaluation import ConfusionMatrix, top_k_accuracy
from . import accuracy
from .predictions import Predictions

# Number of mistakes in the Markdown file; the CSV file has all.
_MAX_MISTAKES = 20


def _count(predictions: Predictions) -> Tensor:
    """Count the videos by label and predicted class."""
    return ConfusionMatrix.calculate(predictions.predicted, predictions.labels,
                                     predictions.scores.shape[1])


def _percent(value: float) -> str:
    return '' if np.isnan(value) else f'{100 * value:.1f} %'


def _percents(value: float, low: float, high: float) -> str:
    return (f'{_percent(value)}, 95 % interval {100 * low:.1f} to '
            f'{100 * high:.1f} %')


def _to_csv(rows: List[dict]) -> str:
    text = io.StringIO(newline='')
    if rows:
        table = csv.writer(text)
        table.writerow(rows[0])
        for row in rows:
            # NaN, which is not equal to itself, is left empty.
            table.writerow(value if value == value else ''
                           for value in row.values())
    return text.getvalue()


def _to_cell(value: object) -> str:
    """Format a fraction in per cent, or a name with any characters."""
    text = _percent(value) if isinstance(value, float) else str(value)
    return ' '.join(text.split()).replace('|', r'\|')


def _to_markdown(rows: Iterable[dict]) -> Iterator[str]:
    for number, row in enumerate(rows):
        if not number:
            yield '| ' + ' | '.join(row) + ' |'
            yield '|' + '---|' * len(row)
        yield '| ' + ' | '.join(map(_to_cell, row.values())) + ' |'


class Report:
    """Report on the predictions of a test.

    Args:
        predictions (Predictions): The predictions.
        classes (list[str], optional): The class names. Defaults to numbers.
        baseline (Predictions, optional): Predictions of another model, for
            comparison.

    Raises:
        ValueError: There are more or fewer class names than scores, or the
            baseline has other videos or classes.

    Attributes:
        matrix (Tensor): Confusion matrix, videos by label and predicted class.
        calibration (Calibration | None): None if the scores are not
            probabilities.
    """

    def __init__(self,
                 predictions: Predictions,
                 classes: Optional[List[str]] = None,
                 baseline: Optional[Predictions] = None) -> None:
        count = predictions.scores.shape[1]
        if classes is None:
            classes = [str(number) for number in range(count)]
        if len(classes) != count:
            raise ValueError(
                f'{predictions.source} has scores of {count} classes, but '
                f'there are names of {len(classes)}; give the config or the '
                'classes of the test')
        self.predictions, self.classes = predictions, classes
        self.baseline = baseline
        self.comparison = baseline and accuracy.compare(predictions, baseline)
        self.matrix = _count(predictions)
        self.by_class = accuracy.class_accuracy(self.matrix.numpy())
        self.calibration = accuracy.calibrate(predictions)

    def summarize(self) -> Iterator[Tuple[str, str]]:
        """Yield names and values of the metrics."""
        predictions, by_class = self.predictions, self.by_class
        count = len(self.classes)
        yield 'videos', f'{len(predictions.labels)}'
        missing = int((by_class.videos == 0).sum())
        yield 'classes', f'{count}' + (f', {missing} of them without videos'
                                       if missing else '')
        top1, top5 = top_k_accuracy(predictions.scores, predictions.labels,
                                    (1, 5))
        yield 'top-1 accuracy', _percents(
            top1, *accuracy.accuracy_interval(predictions.correct))
        if count > 5:
            yield 'top-5 accuracy', _percent(top5)
        yield 'mean class accuracy', _percent(by_class.mean)
        yield 'chance', _percent(1 / count) + (f', top-5 {_percent(5 / count)}'
                                               if count > 5 else '')
        yield 'always the most frequent class', _percent(
            by_class.videos.max() / len(predictions.labels))
        if self.calibration:
            yield 'expected calibration error', (
                f'{_percent(self.calibration.error)}, mean confidence '
                f'{_percent(predictions.scores.max(1).mean())}')
        else:
            yield 'expected calibration error', (
                'not computed, the scores are not probabilities: test with '
                "`model.cls_head.average_clips='prob'`")
        if self.comparison:
            _, _, difference, low, high, p_value = self.comparison
            yield 'top-1 accuracy of the baseline', _percents(
                self.baseline.correct.mean(),
                *accuracy.accuracy_interval(self.baseline.correct))
            yield 'difference to the baseline', (
                f'{100 * difference:+.1f} points, 95 % interval '
                f'{100 * low:+.1f} to {100 * high:+.1f}; right instead of '
                f'wrong {self.comparison.gained}, wrong instead of right '
                f'{self.comparison.lost}; McNemar p = {p_value:.2g}')

    def class_rows(self) -> Iterator[dict]:
        """Yield a row per class; fractions without videos are NaN."""
        own = self.by_class
        if self.baseline:
            recall = accuracy.class_accuracy(_count(
                self.baseline).numpy()).recall
        for label, name in enumerate(self.classes):
            row = dict(
                label=label,
                name=name,
                videos=int(own.videos[label]),
                accuracy=float(own.recall[label]))
            if self.baseline:
                row['baseline'] = float(recall[label])
            rival, taken = own.rival[label], ''
            if rival >= 0:
                taken = f'{self.classes[rival]} ({self.matrix[label, rival]})'
            yield {
                **row, 'precision': float(own.precision[label]),
                'most often taken for': taken
            }

    def mistake_rows(self) -> Iterator[dict]:
        """Yield a row per wrongly classified video, the worst first."""
        scores, labels = self.predictions.scores, self.predictions.labels
        predicted, files = self.predictions.predicted, self.predictions.files
        for number in accuracy.order_mistakes(self.predictions):
            wrong, right = predicted[number], labels[number]
            yield {
                'video': files[number] if files else f'video {number}',
                'label': self.classes[right],
                'predicted': self.classes[wrong],
                'score': f'{scores[number, wrong]:.3f}',
                'score of the label': f'{scores[number, right]:.3f}'
            }

    def texts(self) -> Dict[str, str]:
        """Make the contents of the report's text files, by file name."""
        classes, mistakes = [*self.class_rows()], [*self.mistake_rows()]
        summary = ({
            '': name,
            'value': text
        } for name, text in self.summarize())
        shown = mistakes[:_MAX_MISTAKES]
        lines = [
            f'# {self.predictions.source}', '', *_to_markdown(summary), '',
            '## Confusion matrix', '', '![](confusion.png)', ''
        ]
        if self.calibration:
            lines += ['## Calibration', '', '![](calibration.png)', '']
        lines += ['## Classes', '', *_to_markdown(classes), '']
        if shown:
            lines += [
                f'## Worst {len(shown)} of {len(mistakes)} mistakes', '',
                *_to_markdown(shown), ''
            ]
        return {
            'report.md': '\n'.join(lines),
            'classes.csv': _to_csv(classes),
            'mistakes.csv': _to_csv(mistakes)
        }
