"""From ranks to passages and back: locate, distinct passages, extract, the ranks of a passage; compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import int64, uint32

from limbeck.indexes.fm_index.kernels.compiling import compiled
from limbeck.indexes.fm_index.kernels.layout import BLOCK_SHIFT
from limbeck.indexes.fm_index.kernels.nodes import live, lower_bound

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from limbeck.indexes.fm_index.kernels.layout import PartArrays

_FEW = 64
"""Up to this many passages are told apart by sorting them; more by marking them in a table."""


@compiled
def passage_of(part: PartArrays, position: int) -> int:  # pragma: no cover - compiled
    """The passage in which a position of the text lies."""
    passages = len(part.starts) - 1
    block = position >> BLOCK_SHIFT
    if block + 1 >= len(part.blocks):
        return max(passages - 1, 0)
    low: int = max(min(int64(part.blocks[block]), passages - 1), 0)
    high = min(int64(part.blocks[block + 1]), passages - 1) + 1
    # The last passage that starts at or before the position.
    while low + 1 < high:
        middle = (low + high) >> 1
        if int64(part.starts[middle]) <= position:
            low = middle
        else:
            high = middle
    return low


@compiled
def _sort_positions(values: NDArray[np.uint32], low: int, high: int) -> None:  # pragma: no cover - compiled
    """Sorts entries [low, high), ascending."""
    if high - low > 32:
        values[low:high] = np.sort(values[low:high])
        return
    for index in range(low + 1, high):
        value, place = values[index], index
        while place > low and values[place - 1] > value:
            values[place] = values[place - 1]
            place -= 1
        values[place] = value


@compiled
def locate_rows(
    part: PartArrays, bounds: NDArray[np.uint32], dead: NDArray[np.uint32], limit: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:  # pragma: no cover - compiled
    """Where the live suffixes of each interval stand.

    Args:
        part: the arrays.
        bounds: (rows, 2), the intervals.
        dead: (ranks,), the ranks of deleted suffixes, ascending.
        limit: at most so many a row, the first in suffix order.

    Returns:
        Offsets (rows + 1,), and by passage and offset within a row: passages (the part's own count) and
        offsets of the first token in its passage, both (offsets[-1],).
    """
    rows, total = len(bounds), len(part.suffixes)
    offsets = np.zeros(rows + 1, np.int64)
    for row in range(rows):
        low, high = int64(bounds[row, 0]), min(int64(bounds[row, 1]), total)
        offsets[row + 1] = offsets[row] + min(live(dead, low, high), limit) if low < high else offsets[row]
    positions = np.empty(offsets[rows], np.uint32)
    passages, places = np.empty(offsets[rows], np.int64), np.empty(offsets[rows], np.int64)
    for row in range(rows):
        begin, end = offsets[row], offsets[row + 1]
        rank, at = int64(bounds[row, 0]), begin
        if len(dead) == 0:
            for place in range(begin, end):
                positions[place] = part.suffixes[rank + place - begin]
        elif begin < end:
            gone = lower_bound(dead, rank, 0, len(dead))
            while at < end:
                if gone < len(dead) and int64(dead[gone]) == rank:
                    gone += 1
                else:
                    positions[at] = part.suffixes[rank]
                    at += 1
                rank += 1
        _sort_positions(positions, begin, end)
        for place in range(begin, end):
            passage = passage_of(part, int64(positions[place]))
            passages[place] = passage
            places[place] = int64(positions[place]) - int64(part.starts[passage])
    return offsets, passages, places


@compiled
def count_passages(
    part: PartArrays, bounds: NDArray[np.uint32], dead: NDArray[np.uint32]
) -> NDArray[np.int64]:  # pragma: no cover - compiled
    """How many distinct passages have a live suffix in each interval (rows, 2)."""
    result = np.zeros(len(bounds), np.int64)
    few = np.empty(_FEW, np.uint32)
    marks = np.zeros(0, np.uint32)
    for row in range(len(bounds)):
        low, high = int64(bounds[row, 0]), min(int64(bounds[row, 1]), len(part.suffixes))
        if low >= high:
            continue
        gone = lower_bound(dead, low, 0, len(dead))
        if high - low > _FEW and len(marks) == 0:
            marks = np.zeros(len(part.starts), np.uint32)
        found, mark = 0, uint32(row + 1)
        for rank in range(low, high):
            if gone < len(dead) and int64(dead[gone]) == rank:
                gone += 1
                continue
            passage = passage_of(part, int64(part.suffixes[rank]))
            if high - low <= _FEW:
                few[found] = passage
                found += 1
            elif marks[passage] != mark:
                marks[passage] = mark
                found += 1
        if high - low <= _FEW:
            _sort_positions(few, 0, found)
            distinct = 0
            for place in range(found):
                distinct += place == 0 or few[place] != few[place - 1]
            found = distinct
        result[row] = found
    return result


@compiled
def extract_rows(
    part: PartArrays, passages: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:  # pragma: no cover - compiled
    """The tokens of some passages (rows,), which the part has: offsets (rows + 1,) and tokens."""
    rows, length, sigma = len(passages), len(part.text), len(part.alphabet)
    offsets = np.zeros(rows + 1, np.int64)
    for row in range(rows):
        begin, end = int64(part.starts[passages[row]]), int64(part.starts[passages[row] + 1])
        offsets[row + 1] = offsets[row] + max(min(end, length) - 1 - begin, 0)
    tokens = np.empty(offsets[rows], np.uint32)
    for row in range(rows):
        shift = int64(part.starts[passages[row]]) - offsets[row]
        for place in range(offsets[row], offsets[row + 1]):
            code = int64(part.text[place + shift])
            tokens[place] = part.alphabet[code - 1] if 0 < code <= sigma else uint32(0)
    return offsets, tokens


@compiled
def _precedes(
    part: PartArrays, a: int, b: int, budget: int
) -> tuple[bool, int]:  # pragma: no cover - compiled
    """Whether the suffix at position a stands before that at b; and the budget less what it took."""
    length = len(part.text)
    x, y = a, b
    while x < length and y < length and budget > 0:
        budget -= 1
        left, right = part.text[x], part.text[y]
        if left != right:
            return left < right, budget
        if left == 0:
            break
        x += 1
        y += 1
    return a < b, budget


@compiled
def search_ranks(
    part: PartArrays, passages: NDArray[np.int64], budget: int
) -> tuple[bool, NDArray[np.uint32]]:  # pragma: no cover - compiled
    """The ranks of all suffixes of some passages (rows,), found by halving; not sorted.

    Args:
        part: the arrays.
        passages: the part's own count.
        budget: how many tokens may be compared.

    Returns:
        Whether the budget was enough, and the ranks (suffixes,).
    """
    filled, codes, length, total = 0, len(part.alphabet), len(part.text), 0
    for passage in passages:
        total += max(min(int64(part.starts[passage + 1]) - 1, length) - int64(part.starts[passage]), 0)
    ranks = np.empty(total, np.uint32)
    for passage in passages:
        end = min(int64(part.starts[passage + 1]) - 1, length)
        for position in range(int64(part.starts[passage]), end):
            code = int64(part.text[position])
            if code == 0 or code > codes:
                continue
            low = int64(part.child_firsts[code - 1])
            high = int64(part.child_firsts[code]) if code < codes else len(part.suffixes)
            high = min(high, len(part.suffixes))
            while low < high:
                middle = (low + high) >> 1
                before, budget = _precedes(part, int64(part.suffixes[middle]), position, budget)
                if before:
                    low = middle + 1
                else:
                    high = middle
            if budget <= 0:
                return False, ranks[:0]
            ranks[filled] = low
            filled += 1
    return True, ranks[:filled]


@compiled
def scan_ranks(
    part: PartArrays, deleted: NDArray[np.bool_]
) -> NDArray[np.uint32]:  # pragma: no cover - compiled
    """The ranks of all suffixes of the passages marked in `deleted` (passages,), ascending, by one pass."""
    gone = np.zeros(len(part.text), np.bool_)
    for passage in range(len(deleted)):
        if deleted[passage]:
            gone[int64(part.starts[passage]) : int64(part.starts[passage + 1])] = True
    ranks = np.empty(gone.sum(), np.uint32)
    filled = 0
    for rank in range(len(part.suffixes)):
        position = int64(part.suffixes[rank])
        if position < len(gone) and gone[position] and filled < len(ranks):
            ranks[filled] = rank
            filled += 1
    return ranks[:filled]
