"""Metrics of sentence pairs: binary labels (entailment, duplicates) and graded ones (similarity).

scikit-learn computes them; it belongs to the extra `pairs`. The threshold of accuracy, precision and recall
is chosen on the dev pairs and then applied to the test pairs, never chosen on what is reported.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from limbeck.errors import InputError
from limbeck.evaluation.results import Estimate
from limbeck.evaluation.significance import bootstrap_interval, bootstrap_statistic

Statistic = Callable[[NDArray[np.float64], NDArray[np.float64]], float]


def choose_threshold(scores: ArrayLike, labels: ArrayLike) -> float:
    """The threshold with the best accuracy on dev pairs; a pair counts as positive from the threshold on.

    The threshold lies halfway between two neighbouring scores, or just outside all of them; of equally
    accurate ones the lowest is taken.

    Args:
        scores: shape (pairs,), larger for more likely positives.
        labels: shape (pairs,), 0 or 1, both of them present.

    Returns:
        The threshold.

    Raises:
        InputError: for NaN, for labels that are not 0 or 1, for one class only, for different lengths.

    Example:
        >>> choose_threshold([0.1, 0.4, 0.8, 0.9], [0, 0, 1, 1])
        0.6000000000000001
    """
    values, truth = _binary(scores, labels)
    order = np.argsort(values, kind="stable")
    values, truth = values[order], truth[order]
    distinct, starts = np.unique(values, return_index=True)
    # Just below the i-th distinct score, it is right about negatives under it and positives from it on.
    boundaries = np.append(starts, len(values))
    negatives_below = np.append(0, np.cumsum(truth == 0))[boundaries]
    positives_from = truth.sum() - np.append(0, np.cumsum(truth == 1))[boundaries]
    best = int(np.argmax(negatives_below + positives_from))
    if best == 0:
        return float(np.nextafter(distinct[0], -math.inf))
    if best == len(distinct):
        return float(np.nextafter(distinct[-1], math.inf))
    middle = distinct[best - 1] / 2 + distinct[best] / 2
    # Between two neighbouring floats lies nothing; what scores the upper one is positive all the same.
    return float(middle if middle > distinct[best - 1] else distinct[best])


def evaluate_binary(
    scores: ArrayLike, labels: ArrayLike, *, threshold: float, seed: int = 0
) -> dict[str, Estimate]:
    """Accuracy, average precision, precision and recall of scores against binary labels.

    Args:
        scores: shape (pairs,), larger for more likely positives.
        labels: shape (pairs,), 0 or 1, both of them present.
        threshold: from `choose_threshold` on dev pairs; positive is what scores at least this.
        seed: of the bootstrap intervals.

    Returns:
        `Accuracy`, `Average precision`, `Precision` and `Recall`, each with its 95 % interval.

    Raises:
        InputError: as `choose_threshold`; for a threshold that is NaN; when scikit-learn is not installed.

    Example:
        >>> evaluate_binary([0.9, 0.2, 0.6], [1, 0, 0], threshold=0.5)["Recall"].value
        1.0
    """
    if math.isnan(threshold):
        raise InputError("the threshold is NaN", expected="a number, chosen on dev pairs")
    values, truth = _binary(scores, labels)
    metrics = _sklearn_metrics()
    called = values >= threshold
    return {
        "Accuracy": _share(metrics.accuracy_score(truth, called), truth == called, seed),
        "Average precision": bootstrap_statistic(
            partial(_average_precision, metrics), values, truth, seed=seed
        ),
        "Precision": _share(metrics.precision_score(truth, called, zero_division=0.0), truth[called], seed),
        "Recall": _share(metrics.recall_score(truth, called, zero_division=0.0), called[truth == 1], seed),
    }


def evaluate_graded(scores: ArrayLike, labels: ArrayLike, *, seed: int = 0) -> dict[str, Estimate]:
    """Pearson's and Spearman's correlation of scores with graded labels.

    Args:
        scores: shape (pairs,).
        labels: shape (pairs,), such as similarities from 0 to 5.
        seed: of the bootstrap intervals.

    Returns:
        `Pearson` and `Spearman` from -1 to 1, each with its 95 % interval.

    Raises:
        InputError: for NaN, for different lengths, for fewer than two pairs, and when all scores or all
            labels are equal, for which no correlation is defined.

    Example:
        >>> evaluate_graded([0.1, 0.5, 0.9], [1.0, 2.0, 5.0])["Spearman"].value
        1.0
    """
    values, truth = _paired(scores, labels)
    for what, sample in (("scores", values), ("labels", truth)):
        if np.ptp(sample) == 0:
            raise InputError(f"all {what} are equal", expected="two different values at least")
    statistics: dict[str, Statistic] = {"Pearson": _pearson, "Spearman": _spearman}
    return {
        name: bootstrap_statistic(function, values, truth, seed=seed) for name, function in statistics.items()
    }


def _share(value: float, right: NDArray[Any], seed: int) -> Estimate:
    """A metric that is the share of pairs that are right; its interval is that of a mean of 0 and 1."""
    interval = bootstrap_interval(right, seed=seed) if len(right) else Estimate(math.nan)
    return replace(interval, value=float(value))


def _average_precision(metrics: Any, scores: NDArray[np.float64], labels: NDArray[np.float64]) -> float:
    # A resample may hold no positive at all.
    return float(metrics.average_precision_score(labels, scores)) if labels.any() else math.nan


def _pearson(scores: NDArray[np.float64], labels: NDArray[np.float64]) -> float:
    if np.ptp(scores) == 0 or np.ptp(labels) == 0:
        return math.nan
    return float(stats.pearsonr(scores, labels).statistic)


def _spearman(scores: NDArray[np.float64], labels: NDArray[np.float64]) -> float:
    return _pearson(stats.rankdata(scores), stats.rankdata(labels))


def _sklearn_metrics() -> Any:
    try:
        return importlib.import_module("sklearn.metrics")
    except ImportError as error:
        raise InputError(
            "metrics of binary pairs need scikit-learn, which is not installed",
            remedy="pip install 'limbeck[pairs]'",
        ) from error


def _paired(scores: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if values.ndim != 1 or values.shape != truth.shape:
        raise InputError(
            f"scores of shape {values.shape} do not match labels of shape {truth.shape}",
            expected="one score a label",
        )
    if len(values) < 2:
        raise InputError(f"{len(values)} pairs are too few", expected="at least two pairs")
    for what, sample in (("score", values), ("label", truth)):
        bad = np.flatnonzero(~np.isfinite(sample))
        if len(bad):
            raise InputError(
                f"the {what} of pair {bad[0] + 1} is {sample[bad[0]]}", expected="a finite number"
            )
    return values, truth


def _binary(scores: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values, truth = _paired(scores, labels)
    bad = np.flatnonzero((truth != 0) & (truth != 1))
    if len(bad):
        raise InputError(f"the label of pair {bad[0] + 1} is {truth[bad[0]]:g}", expected="0 or 1")
    if np.ptp(truth) == 0:
        raise InputError(
            f"all labels are {truth[0]:g}",
            expected="both classes",
            remedy="check which label is the positive one",
        )
    return values, truth
