"""The best allowed continuations of each beam, straight from the model's scores; compiled.

No mask of vocabulary width is made: only the scores of tokens that do follow are read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import float32, int32, int64, uint32

from limbeck.indexes.fm_index.kernels.compiling import compiled
from limbeck.indexes.fm_index.kernels.nodes import children_of, find_node, list_children, live

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from limbeck.indexes.fm_index.kernels.layout import PartArrays


_PIECE = 1024
"""So many scores are read at once, without a branch in between, so that the loads overlap."""
_BLOCK = 64
"""So many are passed over at once when none is above the worst kept."""


@compiled
def _sift_up(
    scores: NDArray[np.float32], children: NDArray[np.int64], place: int
) -> None:  # pragma: no cover - compiled
    """Moves the entry at `place` up to where its parent stands behind it: lower score, or a later tie."""
    score, child = scores[place], children[place]
    while place:
        parent = (place - 1) >> 1
        if scores[parent] < score or (scores[parent] == score and children[parent] > child):
            break
        scores[place], children[place] = scores[parent], children[parent]
        place = parent
    scores[place], children[place] = score, child


@compiled
def _sift_down(
    scores: NDArray[np.float32], children: NDArray[np.int64], size: int, score: float, child: int
) -> None:  # pragma: no cover - compiled
    """Puts an entry in the place of the root of a heap of `size`, and moves it down to where it belongs."""
    place = 0
    while 2 * place + 1 < size:
        lower = 2 * place + 1
        if lower + 1 < size and (
            scores[lower + 1] < scores[lower]
            or (scores[lower + 1] == scores[lower] and children[lower + 1] > children[lower])
        ):
            lower += 1
        if score < scores[lower] or (score == scores[lower] and child > children[lower]):
            break
        scores[place], children[place] = scores[lower], children[lower]
        place = lower
    scores[place], children[place] = score, child


@compiled
def _offer(  # compiled functions take no keywords
    heap: NDArray[np.float32], chosen: NDArray[np.int64], size: int, score: float, child: int
) -> int:  # pragma: no cover - compiled
    """Adds an entry to a heap (k,), in place of the worst one when it is full; its size."""
    if size == len(heap):
        _sift_down(heap, chosen, size, score, child)
        return size
    heap[size], chosen[size] = score, child
    _sift_up(heap, chosen, size)
    return size + 1


@compiled
def _gather(
    alphabet: NDArray[np.uint32],
    codes: NDArray[Any],
    scores: NDArray[np.float32],
    found: NDArray[np.float32],
) -> None:  # pragma: no cover - compiled
    """Reads the scores of children (n,) into `found` (n,)."""
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


@compiled
def _any_above(values: NDArray[np.float32], threshold: np.float32) -> bool:  # pragma: no cover - compiled
    """Whether one of the values (_BLOCK,) exceeds the threshold; the length is fixed: vector code."""
    above = int32(0)
    for place in range(_BLOCK):
        above = int32(above + int32(values[place] > threshold))
    return bool(above > 0)


@compiled
def _best_of(  # noqa: PLR0917  # compiled functions take no keywords
    alphabet: NDArray[np.uint32],
    codes: NDArray[Any],
    firsts: NDArray[np.uint32],
    first: int,
    last: int,
    high: int,
    dead: NDArray[np.uint32],
    scores: NDArray[np.float32],
    heap: NDArray[np.float32],
    chosen: NDArray[np.int64],
) -> int:  # pragma: no cover - compiled
    """Keeps the best of the children [first, last) in a heap (k,) whose root is the worst kept; its size."""
    k, vocabulary, sigma, size = len(heap), len(scores), len(alphabet), 0
    threshold = float32(-np.inf)
    found = np.full(_PIECE, -np.inf, np.float32)
    if vocabulary == 0:
        return 0
    for begin in range(first, last, _BLOCK):
        end = min(begin + _BLOCK, last)
        origin = begin - (begin - first) % _PIECE
        if begin == origin:
            _gather(alphabet, codes[begin : min(begin + _PIECE, last)], scores, found)
        if not _any_above(found[begin - origin : begin - origin + _BLOCK], threshold):
            continue
        for child in range(begin, end):
            score = found[child - origin]
            # Children come by ascending token: an equal score that comes later stands behind. NaN fails.
            if not score > threshold:
                continue
            if int64(alphabet[min(max(int64(codes[child]) - 1, 0), sigma - 1)]) >= vocabulary:
                return size
            if len(dead) and live(dead, int64(firsts[child]), _end(firsts, child, last, high)) <= 0:
                continue
            size = _offer(heap, chosen, size, score, child)
            if size == k:
                threshold = heap[0]
    return size


@compiled
def _end(firsts: NDArray[np.uint32], child: int, last: int, high: int) -> int:  # pragma: no cover - compiled
    """Where the interval of a child ends: at the next one's first rank, or with its parent."""
    return int(int64(firsts[child + 1])) if child + 1 < last else high


@compiled
def _write_best(  # noqa: PLR0917
    alphabet: NDArray[np.uint32],
    codes: NDArray[Any],
    firsts: NDArray[np.uint32],
    last: int,
    high: int,
    heap: NDArray[np.float32],
    chosen: NDArray[np.int64],
    size: int,
    tokens: NDArray[np.int64],
    best: NDArray[np.float32],
    intervals: NDArray[np.uint32],
) -> None:  # pragma: no cover - compiled
    """Empties a heap into one row of the result, best first: tokens (k,), best (k,), intervals (k, 2)."""
    sigma = len(alphabet)
    while size:  # the worst kept comes off first
        size -= 1
        child = chosen[0]
        tokens[size] = alphabet[min(max(int64(codes[child]) - 1, 0), sigma - 1)]
        best[size] = heap[0]
        intervals[size, 0], intervals[size, 1] = firsts[child], _end(firsts, child, last, high)
        _sift_down(heap, chosen, size, heap[size], chosen[size])


@compiled
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
    heap, chosen = np.empty(k, np.float32), np.empty(k, np.int64)
    codes, firsts = np.empty(1024, np.uint32), np.empty(1024, np.uint32)
    alphabet = part.alphabet
    for row in range(rows):
        low, high = int64(bounds[row, 0]), min(int64(bounds[row, 1]), total)
        if low >= high:
            continue
        depth, values, begin = int64(depths[row]), scores[score_rows[row]], row * k
        node = find_node(part, low, high - low, depth)
        if node >= 0:
            first, last = children_of(part, node)
            size = _best_of(
                alphabet, part.child_codes, part.child_firsts, first, last, high, dead, values, heap, chosen
            )
            _write_best(
                alphabet, part.child_codes, part.child_firsts, last, high, heap, chosen, size,
                tokens[row], best[row], intervals[begin : begin + k],
            )  # fmt: skip
        else:
            need = min(high - low, len(alphabet))
            if need > len(codes):
                codes, firsts = np.empty(2 * need, np.uint32), np.empty(2 * need, np.uint32)
            last = list_children(part, low, high, depth, codes, firsts, 0)
            size = _best_of(alphabet, codes, firsts, 0, last, high, dead, values, heap, chosen)
            _write_best(
                alphabet, codes, firsts, last, high, heap, chosen, size,
                tokens[row], best[row], intervals[begin : begin + k],
            )  # fmt: skip
    return tokens, best, intervals
