"""The nearest texts of a text: what it may be paired with for a teacher to judge.

Source: Augmented SBERT (Thakur et al. 2021, arXiv 2010.08240), semantic search sampling.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Texts compared with all others at a time.
BLOCK = 256


def nearest_texts(
    vectors: NDArray[np.float32],
    rows: Sequence[int],
    excluded: Sequence[Collection[int]],
    count: int,
    progress: Callable[[int], None] | None = None,
    *,
    queries: NDArray[np.float32] | None = None,
    among: NDArray[np.integer[Any]] | None = None,
) -> NDArray[np.int32]:
    """The nearest other texts by cosine, exactly.

    Args:
        vectors: of all texts (texts, dimension), L2-normalised.
        rows: the texts whose neighbours are wanted.
        excluded: for each of them, texts that are not; the text itself never is.
        count: neighbours of a text.
        progress: called with the number of texts done since the last call.
        queries: of the rows (rows, dimension), L2-normalised, where they are asked with other vectors than
            they are found by; None takes those of `vectors`.
        among: the texts that can be neighbours; None takes all.

    Returns:
        (rows, count), the nearest first; -1 where there are no more.

    Example:
        >>> nearest_texts(np.eye(2, dtype=np.float32), [0], [[]], 2)
        array([[ 1, -1]], dtype=int32)
    """
    found = np.full((len(rows), count), -1, np.int32)
    if not count:
        return found
    asking = vectors[np.asarray(rows)] if queries is None else queries
    barred = np.ones(len(vectors), bool)
    barred[slice(None) if among is None else among] = False
    for start in range(0, len(rows), BLOCK):
        asked = rows[start : start + BLOCK]
        cosines = asking[start : start + BLOCK] @ vectors.T
        cosines[:, barred] = -np.inf
        for at, row in enumerate(asked):
            cosines[at, [row, *excluded[start + at]]] = -np.inf
        depth = min(count, len(vectors))
        # Partitioned first: sorting every text for every other takes most of the time.
        nearest = np.argpartition(-cosines, depth - 1, axis=1)[:, :depth]
        nearest.sort(axis=1)  # equal ones in the order of the texts
        values = np.take_along_axis(cosines, nearest, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        nearest = np.take_along_axis(nearest, order, axis=1)
        values = np.take_along_axis(values, order, axis=1)
        found[start : start + len(asked), :depth] = np.where(np.isfinite(values), nearest, -1)
        if progress is not None:
            progress(len(asked))
    return found
