"""Adding up BM25 scores over an inverted index, compiled.

bm25s has compiled kernels too. These exist because they are cached on disk (those compile for 7 s in every
process), visit only the passages that share a token with the query, and break ties by row, so that the result
for a query is the same whether it comes alone or with others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray


@njit(nogil=True, cache=True)
def accumulate(  # noqa: PLR0917  # compiled functions take no keywords
    tokens: NDArray[np.int64],
    weights: NDArray[np.float32],
    rows: NDArray[np.int32],
    starts: NDArray[np.int64],
    scores: NDArray[np.float32],
    touched: NDArray[np.int32],
) -> int:  # pragma: no cover - compiled
    """Add the postings of `tokens` (query tokens,) to `scores`.

    Args:
        tokens: token ids; one that comes twice counts twice.
        weights: (postings,), all positive.
        rows: (postings,), the passage of each posting.
        starts: (vocabulary + 1,), the first posting of each token.
        scores: (passages,), zeros; written to.
        touched: (passages,); its head is filled with the rows that have a score.

    Returns:
        How many rows have a score.
    """
    found = 0
    for token in tokens:
        for posting in range(starts[token], starts[token + 1]):
            row = rows[posting]
            if scores[row] == 0.0:
                touched[found] = row
                found += 1
            scores[row] += weights[posting]
    return found


def best(
    rows: NDArray[np.int32], scores: NDArray[np.float32], depth: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The `depth` rows with the highest scores, best first, equal scores by row, both (found,)."""
    if len(rows) > depth:
        kept = scores >= np.partition(scores, len(rows) - depth)[len(rows) - depth]
        rows, scores = rows[kept], scores[kept]
    order = np.lexsort((rows, -scores))[:depth]
    return rows[order].astype(np.int64), scores[order].astype(np.float64)
