"""The plot of a set of pairs: the student's scores against the teacher's, and both against the labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from limbeck.evaluation.report.plots import Frame, set_heading
from limbeck.evaluation.report.svg import FIRST, LINE, MUTED, PAPER, SECOND, new_figure, style_axes, to_svg

#: Pairs that are drawn: more would lie on each other, and make the page heavy.
POINTS = 500
TENTHS = 10


@dataclass(frozen=True, eq=False)
class PairPlot:
    """Student against teacher, a point a pair, and the labels of each tenth of the pairs by score.

    Attributes:
        names: of the student and the teacher.
        scores: of the student and the teacher, shape (pairs,) each.
        labels: shape (pairs,).
    """

    names: tuple[str, str]
    scores: tuple[NDArray[np.float64], NDArray[np.float64]]
    labels: NDArray[np.float64]

    def __call__(self, frame: Frame, name: str, alt: str) -> str:
        """The SVG for a frame."""
        wide = frame.columns > 1
        figure = new_figure(frame.width, 340 if wide else 640)
        grid = (1, 2) if wide else (2, 1)
        self._scatter(_axes(figure.add_subplot(*grid, 1)))
        self._calibration(_axes(figure.add_subplot(*grid, 2)))
        return to_svg(figure, name, alt)

    def _scatter(self, axes: Axes) -> None:
        student, teacher = self.scores
        shown = shown_pairs(len(student))
        axes.plot(
            teacher[shown], student[shown], "o", color=FIRST, markersize=4, alpha=0.4, markeredgewidth=0
        )
        axes.set_xlabel(f"score of {self.names[1]}", color=MUTED, labelpad=4, parse_math=False)
        set_heading(axes, f"score of {self.names[0]}")

    def _calibration(self, axes: Axes) -> None:
        if all(values.min() >= 0 and values.max() <= 1 for values in (*self.scores, self.labels)):
            axes.plot([0, 1], [0, 1], color=LINE, linewidth=1.4, zorder=1)
        for name, scores, color, marker in zip(self.names, self.scores, (FIRST, SECOND), "os", strict=True):
            means, labels = tenths(scores, self.labels)
            axes.plot(
                means,
                labels,
                marker=marker,
                color=color,
                linewidth=1.6,
                markersize=7,
                markeredgecolor=PAPER,
                label=name,
            )
        axes.set_xlabel("mean score of a tenth of the pairs", color=MUTED, labelpad=4)
        set_heading(axes, "mean label")
        legend = axes.legend(frameon=False, labelcolor=MUTED, loc="upper left", fontsize=11)
        for text in legend.get_texts():
            text.set_parse_math(False)


def shown_pairs(pairs: int) -> NDArray[np.int64]:
    """The rows of the pairs that are drawn, evenly spread over the set."""
    return np.unique(np.linspace(0, pairs - 1, min(pairs, POINTS)).astype(np.int64))


def tenths(
    scores: NDArray[np.float64], labels: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The mean score and the mean label of each tenth of the pairs, the pairs being sorted by score.

    Returns:
        Two arrays of shape (tenths,), fewer than ten where there are fewer pairs.

    Example:
        >>> tenths(np.array([0.9, 0.1]), np.array([1.0, 0.0]))
        (array([0.1, 0.9]), array([0., 1.]))
    """
    order = np.argsort(scores, kind="stable")
    groups = [group for group in np.array_split(order, TENTHS) if len(group)]
    return np.array([scores[g].mean() for g in groups]), np.array([labels[g].mean() for g in groups])


def _axes(axes: Axes) -> Axes:
    style_axes(axes)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.margins(0.04, 0.06)
    return axes
