"""Metrics of sentence pairs: binary labels (entailment, duplicates) and graded ones (similarity).

scikit-learn computes them; it belongs to the extra `pairs`. The threshold of accuracy, precision and recall
is chosen on the dev pairs and then applied to the test pairs, never chosen on what is reported.
"""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from limbeck.errors import InputError
from limbeck.evaluation.resampling import (
    Statistic,
    WeightedAveragePrecision,
    WeightedMean,
    WeightedPearson,
    WeightedShare,
    WeightedSpearman,
    percentile_interval,
    resample,
)
from limbeck.evaluation.results import Estimate


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


@dataclass(frozen=True, slots=True)
class PairMetric:
    """A metric of one system's scores of a set.

    Attributes:
        value: of the set as it is, from SciPy or scikit-learn.
        statistic: the same metric of resamples.
        right: whether each pair is right, shape (pairs,), where the metric is the mean of that; else None.
    """

    value: float
    statistic: Statistic
    right: NDArray[np.float64] | None = None


def binary_metrics(scores: ArrayLike, labels: ArrayLike, *, threshold: float) -> dict[str, PairMetric]:
    """The metrics that `evaluate_binary` estimates, for those who resample several systems together."""
    if math.isnan(threshold):
        raise InputError("the threshold is NaN", expected="a number, chosen on dev pairs")
    values, truth = _binary(scores, labels)
    metrics = _sklearn_metrics()
    called = values >= threshold
    right = (truth == called).astype(np.float64)
    return {
        "Average precision": PairMetric(
            float(metrics.average_precision_score(truth, values)), WeightedAveragePrecision(values, truth)
        ),
        "Accuracy": PairMetric(float(metrics.accuracy_score(truth, called)), WeightedMean(right), right),
        "Precision": PairMetric(
            float(metrics.precision_score(truth, called, zero_division=0.0)),
            WeightedShare(inside=truth, among=called, empty=0.0),
        ),
        "Recall": PairMetric(
            float(metrics.recall_score(truth, called, zero_division=0.0)),
            WeightedShare(inside=called, among=truth),
        ),
    }


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
        `Average precision`, `Accuracy`, `Precision` and `Recall`, each with its 95 % interval. Where nothing
        is called positive the precision is 0.

    Raises:
        InputError: as `choose_threshold`; for a threshold that is NaN; when scikit-learn is not installed.

    Example:
        >>> evaluate_binary([0.9, 0.2, 0.6], [1, 0, 0], threshold=0.5)["Recall"].value
        1.0
    """
    return _estimates(binary_metrics(scores, labels, threshold=threshold), len(np.asarray(scores)), seed)


def graded_metrics(scores: ArrayLike, labels: ArrayLike) -> dict[str, PairMetric]:
    """The metrics that `evaluate_graded` estimates, for those who resample several systems together."""
    values, truth = _paired(scores, labels)
    for what, sample in (("scores", values), ("labels", truth)):
        if np.ptp(sample) == 0:
            raise InputError(f"all {what} are equal", expected="two different values at least")
    return {
        "Spearman": PairMetric(
            float(stats.spearmanr(values, truth).statistic), WeightedSpearman(values, truth)
        ),
        "Pearson": PairMetric(float(stats.pearsonr(values, truth).statistic), WeightedPearson(values, truth)),
    }


def evaluate_graded(scores: ArrayLike, labels: ArrayLike, *, seed: int = 0) -> dict[str, Estimate]:
    """Spearman's and Pearson's correlation of scores with graded labels.

    Args:
        scores: shape (pairs,).
        labels: shape (pairs,), such as similarities from 0 to 5.
        seed: of the bootstrap intervals.

    Returns:
        `Spearman` and `Pearson` from -1 to 1, each with its 95 % interval.

    Raises:
        InputError: for NaN, for different lengths, for fewer than two pairs, and when all scores or all
            labels are equal, for which no correlation is defined.

    Example:
        >>> evaluate_graded([0.1, 0.5, 0.9], [1.0, 2.0, 5.0])["Spearman"].value
        1.0
    """
    return _estimates(graded_metrics(scores, labels), len(np.asarray(scores)), seed)


def _estimates(metrics: dict[str, PairMetric], pairs: int, seed: int) -> dict[str, Estimate]:
    resampled = resample({name: metric.statistic for name, metric in metrics.items()}, pairs, seed=seed)
    return {name: percentile_interval(metric.value, resampled[name]) for name, metric in metrics.items()}


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
