"""Drawings of the quality of predictions."""
from typing import Sequence

import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, ScalarFormatter
from torch import Tensor

from mmaction.evaluation import ConfusionMatrix
from ..analysis.accuracy import Calibration

# More names, or more numbers in cells, would not be readable.
_MAX_NAMES, _MAX_VALUES = 60, 20


def draw_confusion(matrix: Tensor, classes: Sequence[str]) -> Figure:
    """Draw a confusion matrix, with names and numbers if there are few.

    Args:
        matrix (Tensor): Videos by label and predicted class, shape
            ``(classes, classes)``, int64.
        classes (Sequence[str]): The class names.
    """
    figure = ConfusionMatrix.plot(
        matrix,
        include_values=len(classes) <= _MAX_VALUES,
        classes=[name.replace('$', r'\$') for name in classes],
        show=False)
    plt.close(figure)  # Otherwise pyplot keeps it.
    axes = figure.axes[0]
    if len(classes) > _MAX_NAMES:
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(integer=True))
            axis.set_major_formatter(ScalarFormatter())
    else:
        axes.tick_params('x', rotation=90)
    return figure


def draw_reliability(calibration: Calibration) -> Figure:
    """Draw accuracy by confidence, above the number of videos."""
    figure = Figure((5, 6), layout='constrained')
    upper, lower = figure.subplots(
        2, sharex=True, gridspec_kw=dict(height_ratios=[3, 1]))
    bins = len(calibration.videos)
    middles = (torch.arange(bins) + 0.5) / bins
    upper.bar(middles, calibration.accuracy, 1 / bins, edgecolor='white')
    upper.plot([0, 1], [0, 1], 'k--', label='calibrated')
    upper.plot(
        calibration.confidence,
        calibration.accuracy,
        'o',
        color='tab:orange',
        label='mean of the bin')
    upper.set(
        xlim=(0, 1),
        ylim=(0, 1),
        ylabel='accuracy',
        title=f'expected calibration error {calibration.error:.1%}')
    upper.legend(loc='upper left')
    lower.bar(middles, calibration.videos, 1 / bins, edgecolor='white')
    lower.set(xlabel='confidence', ylabel='videos')
    return figure
