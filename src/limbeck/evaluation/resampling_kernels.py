"""Correlations and average precision of items with weights, compiled: thousands of resamples a second.

An item comes as a code, the place of its value among the distinct ones in order. Counting the codes of a
resample sorts it: time grows with the items, not with the items and their logarithm.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray


@njit(nogil=True, cache=True)
def _centre(
    values: NDArray[np.float64], counts: NDArray[np.int64], ranked: bool
) -> float:  # pragma: no cover - compiled
    """Make of `values`, or of the ranks that the counts give, distances from their mean.

    Args:
        values: the distinct values in order, (distinct,); written to.
        counts: how often each comes, (distinct,).
        ranked: whether ranks take the place of the values.

    Returns:
        The sum of squares over all items; 0 where there is one value only, whatever the rounding.
    """
    if ranked:
        # The items of one value share the mean of the ranks that they take up.
        below = 0
        for code in range(len(counts)):
            values[code] = below + (counts[code] + 1) / 2
            below += counts[code]
    total, distinct, mean, squares = counts.sum(), 0, 0.0, 0.0
    for code in range(len(counts)):
        mean += counts[code] * values[code] / total
        if counts[code] > 0:
            distinct += 1
    for code in range(len(counts)):
        values[code] -= mean
        squares += counts[code] * values[code] ** 2
    return squares if distinct > 1 else 0.0


@njit(nogil=True, cache=True)
def correlation(  # noqa: PLR0917  # compiled functions take no keywords
    first: NDArray[np.float64],
    first_codes: NDArray[np.int64],
    second: NDArray[np.float64],
    second_codes: NDArray[np.int64],
    weights: NDArray[np.int64],
    ranked: bool,
) -> NDArray[np.float64]:  # pragma: no cover - compiled
    """Pearson's correlation of two samples, or of their ranks.

    Args:
        first: distinct values of the first sample in order, (distinct,).
        first_codes: which of them an item has, (items,).
        second: likewise of the second sample.
        second_codes: likewise, (items,).
        weights: how often each item is drawn, (resamples, items).
        ranked: whether ranks, shared between ties, take the place of the values: Spearman's correlation.

    Returns:
        (resamples,); NaN where all values of a sample are equal.
    """
    found = np.full(len(weights), np.nan)
    for row in range(len(weights)):
        values1, counts1 = first.copy(), np.zeros(len(first), np.int64)
        values2, counts2 = second.copy(), np.zeros(len(second), np.int64)
        for item in range(len(first_codes)):
            counts1[first_codes[item]] += weights[row, item]
            counts2[second_codes[item]] += weights[row, item]
        squares1, squares2 = _centre(values1, counts1, ranked), _centre(values2, counts2, ranked)
        products = 0.0
        for item in range(len(first_codes)):
            products += weights[row, item] * values1[first_codes[item]] * values2[second_codes[item]]
        if squares1 > 0 and squares2 > 0:
            found[row] = products / math.sqrt(squares1 * squares2)
    return found


@njit(nogil=True, cache=True)
def average_precision(
    codes: NDArray[np.int64], distinct: int, labels: NDArray[np.int64], weights: NDArray[np.int64]
) -> NDArray[np.float64]:  # pragma: no cover - compiled
    """Average precision, equal scores being retrieved together.

    Args:
        codes: place of an item's score among the distinct ones, the best first, (items,).
        distinct: how many distinct scores there are.
        labels: 1 for positives, else 0, (items,).
        weights: how often each item is drawn, (resamples, items).

    Returns:
        (resamples,); NaN where no positive is drawn.
    """
    found = np.full(len(weights), np.nan)
    for row in range(len(weights)):
        counts, positives = np.zeros(distinct, np.int64), np.zeros(distinct, np.int64)
        for item in range(len(codes)):
            counts[codes[item]] += weights[row, item]
            positives[codes[item]] += weights[row, item] * labels[item]
        retrieved, hits, precisions = 0, 0, 0.0
        for code in range(distinct):
            retrieved += counts[code]
            hits += positives[code]
            if positives[code] > 0:
                precisions += positives[code] * hits / retrieved
        if hits > 0:
            found[row] = precisions / hits
    return found
