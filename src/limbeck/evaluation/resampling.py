"""Bootstrap of statistics that are no mean over the items: correlations, average precision, precision.

Design facts:
- A resample is told by how often each item is drawn, shape (items,): a statistic of a resample is one of
  items with weights, and nothing is copied or sorted again. Ranks are those within the resample, ties shared.
- All statistics of a set see the same resamples, so the difference of two is paired, and so is the mean over
  the seeds of a system that was trained several times.
- The figures as they stand come from SciPy and scikit-learn (`limbeck.evaluation.pairs`); what is compiled
  here repeats them thousands of times, and agrees with them.

Sources: percentile interval and shifted bootstrap test (Efron & Tibshirani 1993, chapters 13 and 16).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from limbeck.evaluation.resampling_kernels import average_precision, correlation
from limbeck.evaluation.results import Estimate
from limbeck.evaluation.significance import LEVEL, TIE

#: One more than is drawn makes the p-value a multiple of 1/10,000.
RESAMPLES = 9_999

# Weights held at once while resampling: 16 MB, whatever the number of items.
_BLOCK_WEIGHTS = 2**21

Floats = NDArray[np.float64]
Weights = NDArray[np.int64]
_Key = TypeVar("_Key")


class Statistic(Protocol):
    """A statistic of items with weights."""

    def weighted(self, weights: Weights) -> Floats:
        """Of each of several resamples.

        Args:
            weights: how often each item was drawn, shape (resamples, items).

        Returns:
            Shape (resamples,); NaN where it is not defined.
        """
        ...


class WeightedMean:
    """The mean of a value an item, such as whether the item is right.

    Args:
        values: shape (items,).
    """

    def __init__(self, values: ArrayLike) -> None:
        self._values = np.asarray(values, dtype=np.float64)

    def weighted(self, weights: Weights) -> Floats:
        """See `Statistic`."""
        return np.asarray(weights @ self._values / weights.sum(axis=1))


class WeightedShare:
    """Of the items in one set, the share that is in another, too: precision and recall.

    Args:
        inside: whether an item is in the other, shape (items,).
        among: whether an item counts at all, shape (items,).
        empty: the value of a resample in which none counts.

    Example:
        >>> recall = WeightedShare(inside=[True, False, True], among=[True, True, False])
        >>> recall.weighted(np.array([[1, 1, 1], [3, 0, 0]])).tolist()
        [0.5, 1.0]
    """

    def __init__(self, inside: ArrayLike, among: ArrayLike, *, empty: float = math.nan) -> None:
        self._among = np.asarray(among, dtype=np.float64)
        self._both = self._among * np.asarray(inside, dtype=np.float64)
        self._empty = empty

    def weighted(self, weights: Weights) -> Floats:
        """See `Statistic`."""
        count = weights @ self._among
        return np.where(count > 0, weights @ self._both / np.maximum(count, 1), self._empty)


class WeightedPearson:
    """Pearson's correlation; NaN in a resample in which all values of one sample are equal.

    Args:
        first: shape (items,).
        second: shape (items,).
    """

    def __init__(self, first: ArrayLike, second: ArrayLike) -> None:
        self._samples = _codes(first), _codes(second)

    def weighted(self, weights: Weights) -> Floats:
        """See `Statistic`."""
        (first, codes1), (second, codes2) = self._samples
        return correlation(first, codes1, second, codes2, weights, False)


class WeightedSpearman:
    """Spearman's correlation, ranks and ties being those of the resample; arguments as `WeightedPearson`."""

    def __init__(self, first: ArrayLike, second: ArrayLike) -> None:
        self._samples = _codes(first), _codes(second)

    def weighted(self, weights: Weights) -> Floats:
        """See `Statistic`."""
        (first, codes1), (second, codes2) = self._samples
        return correlation(first, codes1, second, codes2, weights, True)


class WeightedAveragePrecision:
    """Average precision as scikit-learn defines it, equal scores being one step; NaN without a positive.

    Args:
        scores: shape (items,), larger for more likely positives.
        labels: shape (items,), 0 or 1.
    """

    def __init__(self, scores: ArrayLike, labels: ArrayLike) -> None:
        self._distinct, self._codes = _codes(-np.asarray(scores, dtype=np.float64))
        self._labels = np.asarray(labels, dtype=np.int64)

    def weighted(self, weights: Weights) -> Floats:
        """See `Statistic`."""
        return average_precision(self._codes, len(self._distinct), self._labels, weights)


def resample(
    statistics: Mapping[_Key, Statistic], items: int, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[_Key, Floats]:
    """Statistics of bootstrap samples of the items, the same samples for all of them.

    Args:
        statistics: by any key.
        items: how many there are to draw from; as many are drawn for a sample.
        resamples: number of bootstrap samples.
        seed: of the drawing.

    Returns:
        Key to the statistic of each sample, shape (resamples,).

    Example:
        >>> found = resample({"accuracy": WeightedMean([1, 1, 0, 1])}, items=4, resamples=99)
        >>> found["accuracy"].shape
        (99,)
    """
    blocks: dict[_Key, list[Floats]] = {key: [] for key in statistics}
    for weights in _draws(items, resamples, seed):
        for key, statistic in statistics.items():
            blocks[key].append(statistic.weighted(weights))
    return {key: np.concatenate(found) for key, found in blocks.items()}


def percentile_interval(value: float, resampled: Floats, *, level: float = LEVEL) -> Estimate:
    """A statistic with its bootstrap percentile interval, over the resamples for which it is defined.

    Args:
        value: of the items as they are.
        resampled: from `resample`, shape (resamples,).
        level: the confidence.

    Returns:
        The estimate; without an interval where no resample defines the statistic.
    """
    defined = resampled[np.isfinite(resampled)]
    if not len(defined):
        return Estimate(value)
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, float(low), float(high))


def shifted_bootstrap_test(difference: float, resampled: Floats) -> float:
    """Test whether a difference is zero, two-sided, by how far its resamples lie from it.

    The resamples, shifted to have no difference, stand for the null hypothesis: counted are those that lie as
    far from the difference as the difference lies from zero (Efron & Tibshirani 1993, section 16.4).

    Args:
        difference: of the items as they are.
        resampled: the same difference in each resample, shape (resamples,).

    Returns:
        The p-value, from 1 / (resamples + 1) to 1; NaN when the difference is not defined.

    Example:
        >>> shifted_bootstrap_test(0.5, np.array([0.5, 0.4, 0.6, 0.5, 1.1]))  # only 1.1 lies 0.5 away
        0.3333333333333333
    """
    defined = resampled[np.isfinite(resampled)]
    if not math.isfinite(difference):
        return math.nan
    as_far = int(np.sum(np.abs(defined - difference) >= abs(difference) - TIE))
    return (1 + as_far) / (1 + len(defined))


def _draws(items: int, resamples: int, seed: int) -> Iterator[Weights]:
    """How often each item is drawn, shape (resamples, items), in blocks; their sizes change no draw."""
    rng = np.random.default_rng(seed)
    rows = max(1, _BLOCK_WEIGHTS // items)
    for start in range(0, resamples, rows):
        count = min(rows, resamples - start)
        drawn = rng.integers(0, items, (count, items)) + items * np.arange(count)[:, None]
        yield np.bincount(drawn.ravel(), minlength=count * items).reshape(count, items)


def _codes(values: ArrayLike) -> tuple[Floats, NDArray[np.int64]]:
    """The distinct values, ascending, with their mean taken off, and the place of each item's among them."""
    sample = np.asarray(values, dtype=np.float64)
    distinct, codes = np.unique(sample, return_inverse=True)
    return distinct - sample.mean(), codes.astype(np.int64)
