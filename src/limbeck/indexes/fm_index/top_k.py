"""The best allowed continuations of each beam, straight from the model's scores; compiled.

No mask of vocabulary width is made: only the scores of tokens that do follow are read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import float32, int64, njit, uint32

from limbeck.indexes.fm_index.nodes import children_of, find_node, list_children, live

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from limbeck.indexes.fm_index.layout import PartArrays


_PIECE = 64
"""Scores are read in pieces; a piece without a score above the worst kept is passed over as a whole."""


@njit(nogil=True, cache=True)
def _worse(
    scores: NDArray[np.float32], tokens: NDArray[np.int64], a: int, b: int
) -> bool:  # pragma: no cover - compiled
    """Whether heap entry a stands behind b: lower score, or the same and a higher token."""
    return bool(scores[a] < scores[b] or (scores[a] == scores[b] and tokens[a] > tokens[b]))


@njit(nogil=True, cache=True)
def _swap(
    scores: NDArray[np.float32], tokens: NDArray[np.int64], bounds: NDArray[np.int64], a: int, b: int
) -> None:  # pragma: no cover - compiled
    scores[a], scores[b] = scores[b], scores[a]
    tokens[a], tokens[b] = tokens[b], tokens[a]
    bounds[a, 0], bounds[b, 0] = bounds[b, 0], bounds[a, 0]
    bounds[a, 1], bounds[b, 1] = bounds[b, 1], bounds[a, 1]


@njit(nogil=True, cache=True)
def _sift_up(
    scores: NDArray[np.float32], tokens: NDArray[np.int64], bounds: NDArray[np.int64], place: int
) -> None:  # pragma: no cover - compiled
    while place:
        parent = (place - 1) >> 1
        if not _worse(scores, tokens, place, parent):
            return
        _swap(scores, tokens, bounds, place, parent)
        place = parent


@njit(nogil=True, cache=True)
def _sift_down(
    scores: NDArray[np.float32], tokens: NDArray[np.int64], bounds: NDArray[np.int64], size: int
) -> None:  # pragma: no cover - compiled
    place = 0
    while True:
        child = 2 * place + 1
        if child >= size:
            return
        if child + 1 < size and _worse(scores, tokens, child + 1, child):
            child += 1
        if not _worse(scores, tokens, child, place):
            return
        _swap(scores, tokens, bounds, child, place)
        place = child


@njit(nogil=True, cache=True)
def _gather(
    alphabet: NDArray[np.uint32],
    codes: NDArray[Any],
    scores: NDArray[np.float32],
    threshold: np.float32,
    found: NDArray[np.float32],
) -> int:  # pragma: no cover - compiled
    """Reads the scores of children (n,) into `found` (n,); how many exceed the threshold.

    Plain loops without branches, which compile to vector code: the loads overlap.
    """
    # 32 bits throughout: what a wrong code would lead to wraps around and is held at the last entry.
    size, sigma = len(codes), len(alphabet)
    one, most, last = uint32(1), uint32(sigma - 1), uint32(min(len(scores), 2**32) - 1)
    if int64(alphabet[sigma - 1]) - int64(alphabet[0]) == sigma - 1:
        base = uint32(alphabet[0] - one)
        for child in range(size):
            found[child] = scores[min(uint32(uint32(codes[child]) + base), last)]
    else:
        for child in range(size):
            token = alphabet[min(uint32(uint32(codes[child]) - one), most)]
            found[child] = scores[min(token, last)]
    above = 0
    for child in range(size):
        above += found[child] > threshold
    return above


@njit(nogil=True, cache=True)
def _best_of(  # noqa: PLR0917  # compiled functions take no keywords
    alphabet: NDArray[np.uint32],
    codes: NDArray[Any],
    firsts: NDArray[np.uint32],
    first: int,
    last: int,
    high: int,
    dead: NDArray[np.uint32],
    scores: NDArray[np.float32],
    heap_scores: NDArray[np.float32],
    heap_tokens: NDArray[np.int64],
    heap_bounds: NDArray[np.int64],
) -> int:  # pragma: no cover - compiled
    """Keeps the best of the children [first, last) in a heap whose root is the worst kept; its size."""
    k, vocabulary, sigma, size = len(heap_scores), len(scores), len(alphabet), 0
    threshold = float32(-np.inf)
    found = np.empty(_PIECE, np.float32)
    if vocabulary == 0:
        return 0
    for begin in range(first, last, _PIECE):
        end = min(begin + _PIECE, last)
        if not _gather(alphabet, codes[begin:end], scores, threshold, found):
            continue
        for child in range(begin, end):
            # Children come by ascending token: an equal score that comes later stands behind. NaN fails.
            if not found[child - begin] > threshold:
                continue
            token = int64(alphabet[min(max(int64(codes[child]) - 1, 0), sigma - 1)])
            if token >= vocabulary:
                return size
            low, up = int64(firsts[child]), int64(firsts[child + 1]) if child + 1 < last else high
            if len(dead) and live(dead, low, up) <= 0:
                continue
            place = size if size < k else 0
            heap_scores[place], heap_tokens[place] = found[child - begin], token
            heap_bounds[place, 0], heap_bounds[place, 1] = low, up
            if size < k:
                size += 1
                _sift_up(heap_scores, heap_tokens, heap_bounds, place)
            else:
                _sift_down(heap_scores, heap_tokens, heap_bounds, size)
            if size == k:
                threshold = heap_scores[0]
    return size


@njit(nogil=True, cache=True)
def top_k_rows(  # noqa: PLR0917
    part: PartArrays,
    scores: NDArray[np.float32],
    score_rows: NDArray[np.int64],
    bounds: NDArray[np.uint32],
    depths: NDArray[np.int32],
    dead: NDArray[np.uint32],
    k: int,
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.uint32]]:  # pragma: no cover - compiled
    """The k live continuations of each interval with the highest scores, ties by ascending token.

    Args:
        part: the arrays.
        scores: (score rows, vocabulary).
        score_rows: (rows,), the row of `scores` of each interval.
        bounds: (rows, 2), the intervals.
        depths: (rows,), how many tokens each stands for.
        dead: (ranks,), the ranks of deleted suffixes, ascending.
        k: how many a row, at least 1.

    Returns:
        Tokens (rows, k), -1 where there are fewer; scores (rows, k), -inf there; intervals (rows * k, 2).
    """
    rows, total = len(bounds), len(part.suffixes)
    tokens = np.full((rows, k), -1, np.int64)
    best = np.full((rows, k), -np.inf, np.float32)
    intervals = np.zeros((rows * k, 2), np.uint32)
    heap_scores, heap_tokens = np.empty(k, np.float32), np.empty(k, np.int64)
    heap_bounds = np.empty((k, 2), np.int64)
    codes, firsts = np.empty(1024, np.uint32), np.empty(1024, np.uint32)
    for row in range(rows):
        low, high = int64(bounds[row, 0]), min(int64(bounds[row, 1]), total)
        if low >= high:
            continue
        depth, values = int64(depths[row]), scores[score_rows[row]]
        node = find_node(part, low, high - low, depth)
        if node >= 0:
            first, last = children_of(part, node)
            size = _best_of(
                part.alphabet, part.child_codes, part.child_firsts, first, last, high, dead, values,
                heap_scores, heap_tokens, heap_bounds,
            )  # fmt: skip
        else:
            need = min(high - low, len(part.alphabet))
            if need > len(codes):
                codes, firsts = np.empty(2 * need, np.uint32), np.empty(2 * need, np.uint32)
            last = list_children(part, low, high, depth, codes, firsts, 0)
            size = _best_of(
                part.alphabet, codes, firsts, 0, last, high, dead, values,
                heap_scores, heap_tokens, heap_bounds,
            )  # fmt: skip
        while size:  # the worst kept comes off first
            size -= 1
            tokens[row, size], best[row, size] = heap_tokens[0], heap_scores[0]
            intervals[row * k + size, 0], intervals[row * k + size, 1] = heap_bounds[0, 0], heap_bounds[0, 1]
            _swap(heap_scores, heap_tokens, heap_bounds, 0, size)
            _sift_down(heap_scores, heap_tokens, heap_bounds, size)
    return tokens, best, intervals
