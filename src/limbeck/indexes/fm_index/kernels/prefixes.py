"""Batches of prefixes: one step, whole identifiers, and the tokens that may follow; compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import int64, uint32

from limbeck.indexes.fm_index.kernels.compiling import compiled
from limbeck.indexes.fm_index.kernels.nodes import (
    children_of,
    code_of,
    find_node,
    list_children,
    live,
    lower_bound,
    step,
)

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from limbeck.indexes.fm_index.kernels.layout import PartArrays


@compiled
def extend_rows(  # compiled functions take no keywords
    part: PartArrays,
    bounds: NDArray[np.uint32],
    depths: NDArray[np.int32],
    tokens: NDArray[np.int64],
) -> NDArray[np.uint32]:  # pragma: no cover - compiled
    """One token further, a row each.

    Args:
        part: the arrays.
        bounds: (rows, 2), the intervals.
        depths: (rows,), how many tokens each stands for.
        tokens: (rows,), the ids that follow.

    Returns:
        (rows, 2), the new intervals; (0, 0) where the token does not follow.
    """
    result = np.zeros((len(bounds), 2), np.uint32)
    for row in range(len(bounds)):
        code = code_of(part.alphabet, tokens[row])
        low, high = step(part, int64(bounds[row, 0]), int64(bounds[row, 1]), int64(depths[row]), code)
        result[row, 0], result[row, 1] = low, high
    return result


@compiled
def find_rows(
    part: PartArrays, tokens: NDArray[np.uint32], offsets: NDArray[np.int64]
) -> NDArray[np.uint32]:  # pragma: no cover - compiled
    """The intervals (rows, 2) of whole identifiers: row i is tokens[offsets[i]:offsets[i + 1]]."""
    result = np.zeros((len(offsets) - 1, 2), np.uint32)
    for row in range(len(offsets) - 1):
        low, high = 0, len(part.suffixes)
        for place in range(offsets[row], offsets[row + 1]):
            code = code_of(part.alphabet, int64(tokens[place]))
            low, high = step(part, low, high, place - offsets[row], code)
            if low >= high:
                break
        result[row, 0], result[row, 1] = low, high
    return result


@compiled
def live_rows(
    bounds: NDArray[np.uint32], dead: NDArray[np.uint32]
) -> NDArray[np.int64]:  # pragma: no cover - compiled
    """How many ranks of each interval (rows, 2) are not in `dead` (ranks,), ascending."""
    result = np.zeros(len(bounds), np.int64)
    for row in range(len(bounds)):
        result[row] = live(dead, int64(bounds[row, 0]), int64(bounds[row, 1]))
    return result


@compiled
def _count_live_children(
    firsts: NDArray[np.uint32], first: int, last: int, high: int, dead: NDArray[np.uint32]
) -> int:  # pragma: no cover - compiled
    """How many of the children [first, last), the last of which ends at `high`, have a live rank."""
    if len(dead) == 0:
        return last - first
    found = 0
    at = 0 if first == last else lower_bound(dead, int64(firsts[first]), 0, len(dead))
    for child in range(first, last):
        begin = int64(firsts[child])
        end = int64(firsts[child + 1]) if child + 1 < last else high
        after = _skip(dead, at, end)
        found += end - begin > after - at
        at = after
    return found


@compiled
def _skip(dead: NDArray[np.uint32], at: int, end: int) -> int:  # pragma: no cover - compiled
    """The first index from `at` on of ascending `dead` with an entry >= end, by galloping."""
    size, stride = len(dead), 1
    while at + stride - 1 < size and int64(dead[at + stride - 1]) < end:
        at += stride
        stride <<= 1
    return lower_bound(dead, end, at, min(at + stride - 1, size))


@compiled
def _copy_children(  # noqa: PLR0917
    alphabet: NDArray[np.uint32],
    codes: NDArray[Any],
    firsts: NDArray[np.uint32],
    high: int,
    tokens: NDArray[np.uint32],
    counts: NDArray[np.int64],
) -> None:  # pragma: no cover - compiled
    """Children (n,) as tokens and counts (n,): plain loops without branches, which compile to vector code."""
    size, sigma = len(codes), len(alphabet)
    if size == 0:
        return
    if int64(alphabet[sigma - 1]) - int64(alphabet[0]) == sigma - 1:
        base = uint32(alphabet[0] - uint32(1))
        for child in range(size):
            tokens[child] = uint32(codes[child]) + base
    else:
        one, most = uint32(1), uint32(sigma - 1)
        for child in range(size):
            tokens[child] = alphabet[min(uint32(uint32(codes[child]) - one), most)]
    for child in range(size - 1):
        counts[child] = int64(uint32(firsts[child + 1] - firsts[child]))
    counts[size - 1] = high - int64(firsts[size - 1])


@compiled
def _write_children(  # noqa: PLR0917
    part: PartArrays,
    codes: NDArray[Any],
    firsts: NDArray[np.uint32],
    first: int,
    last: int,
    high: int,
    dead: NDArray[np.uint32],
    tokens: NDArray[np.uint32],
    counts: NDArray[np.int64],
    filled: int,
) -> None:  # pragma: no cover - compiled
    """Writes the live children [first, last) as tokens and counts from entry `filled` on."""
    if len(dead) == 0:
        _copy_children(
            part.alphabet,
            codes[first:last],
            firsts[first:last],
            high,
            tokens[filled : filled + last - first],
            counts[filled : filled + last - first],
        )
        return
    sigma = len(part.alphabet)
    at = 0 if first == last else lower_bound(dead, int64(firsts[first]), 0, len(dead))
    for child in range(first, last):
        begin = int64(firsts[child])
        end = int64(firsts[child + 1]) if child + 1 < last else high
        after = _skip(dead, at, end)
        if end - begin > after - at:
            code = int64(codes[child])
            tokens[filled] = part.alphabet[code - 1] if 0 < code <= sigma else uint32(0)
            counts[filled] = end - begin - (after - at)
            filled += 1
        at = after


@compiled
def plan_rows(
    part: PartArrays, bounds: NDArray[np.uint32], depths: NDArray[np.int32], dead: NDArray[np.uint32]
) -> tuple[
    NDArray[np.int64], NDArray[np.int64], NDArray[np.uint32], NDArray[np.uint32]
]:  # pragma: no cover - compiled
    """Finds the live followers of each interval, or where they are stored.

    Args:
        part: the arrays.
        bounds: (rows, 2), the intervals.
        depths: (rows,), how many tokens each stands for.
        dead: (ranks,), the ranks of deleted suffixes, ascending.

    Returns:
        Offsets (rows + 1,) of the live followers; places (rows, 3): the first and last child, and whether
        they are stored (1) or in what follows (0); codes and first ranks of those that are not stored.
    """
    rows, total = len(bounds), len(part.suffixes)
    offsets = np.zeros(rows + 1, np.int64)
    places = np.zeros((rows, 3), np.int64)
    codes, firsts = np.empty(1024, np.uint32), np.empty(1024, np.uint32)
    filled = 0
    for row in range(rows):
        low, high = int64(bounds[row, 0]), min(int64(bounds[row, 1]), total)
        found = 0
        if low < high:
            depth = int64(depths[row])
            node = find_node(part, low, high - low, depth)
            if node >= 0:
                first, last = children_of(part, node)
                found = _count_live_children(part.child_firsts, first, last, high, dead)
                places[row, 2] = 1
            else:
                need = filled + min(high - low, len(part.alphabet))
                if need > len(codes):
                    size = max(need, 2 * len(codes))
                    grown_codes, grown_firsts = np.empty(size, np.uint32), np.empty(size, np.uint32)
                    grown_codes[:filled], grown_firsts[:filled] = codes[:filled], firsts[:filled]
                    codes, firsts = grown_codes, grown_firsts
                first = filled
                filled = last = list_children(part, low, high, depth, codes, firsts, filled)
                found = _count_live_children(firsts, first, last, high, dead)
            places[row, 0], places[row, 1] = first, last
        offsets[row + 1] = offsets[row] + found
    return offsets, places, codes, firsts


@compiled
def write_rows(  # noqa: PLR0917
    part: PartArrays,
    bounds: NDArray[np.uint32],
    dead: NDArray[np.uint32],
    offsets: NDArray[np.int64],
    places: NDArray[np.int64],
    codes: NDArray[np.uint32],
    firsts: NDArray[np.uint32],
    tokens: NDArray[np.uint32],
    counts: NDArray[np.int64],
) -> None:  # pragma: no cover - compiled
    """Writes what `plan_rows` found into tokens and counts (offsets[-1],)."""
    for row in range(len(bounds)):
        high = min(int64(bounds[row, 1]), len(part.suffixes))
        first, last, at = places[row, 0], places[row, 1], offsets[row]
        if places[row, 2]:
            _write_children(
                part, part.child_codes, part.child_firsts, first, last, high, dead, tokens, counts, at
            )
        else:
            _write_children(part, codes, firsts, first, last, high, dead, tokens, counts, at)


def continue_rows(
    part: PartArrays, bounds: NDArray[np.uint32], depths: NDArray[np.int32], dead: NDArray[np.uint32]
) -> tuple[NDArray[np.int64], NDArray[np.uint32], NDArray[np.int64]]:
    """The tokens that follow each interval, ascending, with their live counts.

    Args:
        part: the arrays.
        bounds: (rows, 2), the intervals.
        depths: (rows,), how many tokens each stands for.
        dead: (ranks,), the ranks of deleted suffixes, ascending.

    Returns:
        Offsets (rows + 1,), tokens and counts (offsets[-1],).
    """
    offsets, places, codes, firsts = plan_rows(part, bounds, depths, dead)
    # NumPy asks the system for large pages, compiled code does not; new pages are a third of the time.
    tokens, counts = np.empty(offsets[-1], np.uint32), np.empty(offsets[-1], np.int64)
    write_rows(part, bounds, dead, offsets, places, codes, firsts, tokens, counts)
    return offsets, tokens, counts
