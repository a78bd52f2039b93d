"""Quality of predictions: accuracy by class, calibration, comparison."""
import os
from typing import NamedTuple, Optional, Tuple

import numpy as np
from scipy.stats import binomtest

from .predictions import Predictions


def accuracy_interval(correct: np.ndarray) -> Tuple[float, float]:
    """95 % interval of an accuracy, by Wilson's score.

    Args:
        correct (np.ndarray): Which videos are classified correctly, bool.
    """
    test = binomtest(int(correct.sum()), len(correct))
    interval = test.proportion_ci(0.95, 'wilson')
    return interval.low, interval.high


class ClassAccuracy(NamedTuple):
    """Accuracy by class.

    Attributes:
        videos (np.ndarray): Videos of each class, shape (classes,).
        recall (np.ndarray): Fraction of a class's videos that are classified
            correctly; NaN without videos.
        precision (np.ndarray): Fraction of the videos predicted as a class
            that belong to it; NaN without such videos.
        rival (np.ndarray): The wrong class that is predicted most often for a
            class's videos; -1 if there is none.
    """
    videos: np.ndarray
    recall: np.ndarray
    precision: np.ndarray
    rival: np.ndarray

    @property
    def mean(self) -> float:
        """float: Mean recall of the classes that have videos."""
        return float(np.nanmean(self.recall))


def class_accuracy(matrix: np.ndarray) -> ClassAccuracy:
    """Compute the accuracy of each class.

    Args:
        matrix (np.ndarray): Number of videos by label and predicted class,
            shape (classes, classes).
    """
    right, videos = matrix.diagonal(), matrix.sum(1)
    with np.errstate(invalid='ignore'):  # Classes without videos.
        recall, precision = right / videos, right / matrix.sum(0)
    wrong = matrix - np.diag(right)
    rival = np.where(wrong.any(1), wrong.argmax(1), -1)
    return ClassAccuracy(videos, recall, precision, rival)


class Calibration(NamedTuple):
    """Confidence and accuracy in bins of equal width from 0 to 1.

    Attributes:
        videos (np.ndarray): Videos in each bin, shape (bins,).
        confidence (np.ndarray): Mean confidence in each bin; NaN without
            videos.
        accuracy (np.ndarray): Fraction of correct videos in each bin; NaN
            without videos.
    """
    videos: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def error(self) -> float:
        """float: Expected calibration error (ECE), from 0 to 1."""
        gaps = np.nan_to_num(np.abs(self.accuracy - self.confidence))
        return float((gaps * self.videos).sum() / self.videos.sum())


def calibrate(predictions: Predictions,
              bins: int = 15) -> Optional[Calibration]:
    """Compare the highest probability of each video with the accuracy.

    Args:
        predictions (Predictions): The predictions.
        bins (int): Number of bins. Defaults to 15, as is usual.

    Returns:
        Calibration | None: None if the scores are not probabilities.
    """
    if not predictions.are_probabilities:
        return None
    confidence = predictions.scores.max(1)
    number = np.minimum((confidence * bins).astype(int), bins - 1)
    videos = np.bincount(number, minlength=bins)
    sums = (
        np.bincount(number, values, bins)
        for values in (confidence, predictions.correct))
    with np.errstate(invalid='ignore'):
        return Calibration(videos, *(total / videos for total in sums))


class Comparison(NamedTuple):
    """Top-1 accuracy compared with a baseline on the same videos.

    Attributes:
        gained (int): Videos that are correct only in the predictions.
        lost (int): Videos that are correct only in the baseline.
        difference (float): Accuracy minus that of the baseline.
        low, high (float): 95 % interval of the difference, by a paired
            bootstrap.
        p_value (float): p-value of McNemar's exact test.
    """
    gained: int
    lost: int
    difference: float
    low: float
    high: float
    p_value: float


def compare(predictions: Predictions,
            baseline: Predictions,
            resamples: int = 10000) -> Comparison:
    """Compare predictions with those of a baseline.

    Raises:
        ValueError: Predictions and baseline have different classes, videos or
            orders of videos.
    """
    if predictions.scores.shape[1] != baseline.scores.shape[1]:
        raise ValueError(
            f'{predictions.source} has {predictions.scores.shape[1]} classes, '
            f'but {baseline.source} has {baseline.scores.shape[1]}; give a '
            'baseline with the same classes')
    # Folders may differ, as on two machines.
    files, others = ([*map(os.path.basename, x.files)]
                     for x in (predictions, baseline))
    if (not np.array_equal(predictions.labels, baseline.labels)
            or files and others and files != others):
        raise ValueError(
            f'{predictions.source} ({len(predictions.labels)} videos) and '
            f'{baseline.source} ({len(baseline.labels)} videos) are not of '
            'the same videos in the same order; test both with one list')
    count = len(predictions.labels)
    change = predictions.correct.astype(int) - baseline.correct
    gained, lost = int((change > 0).sum()), int((change < 0).sum())
    # Numbers of drawn videos that are gained, lost or neither.
    draws = np.random.default_rng(0).multinomial(
        count,
        np.array([gained, lost, count - gained - lost]) / count, resamples)
    low, high = np.quantile((draws[:, 0] - draws[:, 1]) / count,
                            [0.025, 0.975])
    p_value = 1.0
    if gained + lost:
        p_value = binomtest(gained, gained + lost).pvalue
    return Comparison(gained, lost, (gained - lost) / count, low, high,
                      p_value)


def order_mistakes(predictions: Predictions) -> np.ndarray:
    """Indices of the wrongly classified videos, the worst first.

    The worst video has the largest difference between the scores of the
    predicted and the right class.
    """
    videos = np.arange(len(predictions.labels))
    scores = predictions.scores
    margin = (
        scores[videos, predictions.predicted] -
        scores[videos, predictions.labels])
    order = np.argsort(-margin, kind='stable')
    return order[~predictions.correct[order]]
