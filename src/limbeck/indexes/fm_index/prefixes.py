"""Batches of prefixes: one step, whole identifiers, and the tokens that may follow; compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from limbeck.indexes.fm_index.nodes import (
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

    from limbeck.indexes.fm_index.layout import PartArrays


@njit(nogil=True, cache=True)
def extend_rows(  # noqa: PLR0917  # compiled functions take no keywords
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
        low, high = step(
            part, np.int64(bounds[row, 0]), np.int64(bounds[row, 1]), np.int64(depths[row]), code
        )
        result[row, 0], result[row, 1] = low, high
    return result


@njit(nogil=True, cache=True)
def find_rows(
    part: PartArrays, tokens: NDArray[np.uint32], offsets: NDArray[np.int64]
) -> NDArray[np.uint32]:  # pragma: no cover - compiled
    """The intervals (rows, 2) of whole identifiers: row i is tokens[offsets[i]:offsets[i + 1]]."""
    result = np.zeros((len(offsets) - 1, 2), np.uint32)
    for row in range(len(offsets) - 1):
        low, high = 0, len(part.suffixes)
        for place in range(offsets[row], offsets[row + 1]):
            code = code_of(part.alphabet, np.int64(tokens[place]))
            low, high = step(part, low, high, place - offsets[row], code)
            if low >= high:
                break
        result[row, 0], result[row, 1] = low, high
    return result


@njit(nogil=True, cache=True)
def live_rows(
    bounds: NDArray[np.uint32], dead: NDArray[np.uint32]
) -> NDArray[np.int64]:  # pragma: no cover - compiled
    """How many ranks of each interval (rows, 2) are not in `dead` (ranks,), ascending."""
    result = np.zeros(len(bounds), np.int64)
    for row in range(len(bounds)):
        result[row] = live(dead, np.int64(bounds[row, 0]), np.int64(bounds[row, 1]))
    return result


@njit(nogil=True, cache=True)
def _count_live_children(  # noqa: PLR0917
    firsts: NDArray[np.uint32], first: int, last: int, high: int, dead: NDArray[np.uint32]
) -> int:  # pragma: no cover - compiled
    """How many of the children [first, last), the last of which ends at `high`, have a live rank."""
    if len(dead) == 0:
        return last - first
    found = 0
    at = 0 if first == last else lower_bound(dead, np.int64(firsts[first]), 0, len(dead))
    for child in range(first, last):
        begin = np.int64(firsts[child])
        end = np.int64(firsts[child + 1]) if child + 1 < last else high
        after = _skip(dead, at, end)
        found += end - begin > after - at
        at = after
    return found


@njit(nogil=True, cache=True)
def _skip(dead: NDArray[np.uint32], at: int, end: int) -> int:  # pragma: no cover - compiled
    """The first index from `at` on of ascending `dead` with an entry >= end, by galloping."""
    size, stride = len(dead), 1
    while at + stride - 1 < size and np.int64(dead[at + stride - 1]) < end:
        at += stride
        stride <<= 1
    return lower_bound(dead, end, at, min(at + stride - 1, size))


@njit(nogil=True, cache=True)
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
    sigma = len(part.alphabet)
    if len(dead) == 0:
        for child in range(first, last):
            code = np.int64(codes[child])
            tokens[filled + child - first] = part.alphabet[code - 1] if 0 < code <= sigma else np.uint32(0)
        for child in range(first, last - 1):
            counts[filled + child - first] = np.int64(firsts[child + 1]) - np.int64(firsts[child])
        if last > first:
            counts[filled + last - 1 - first] = high - np.int64(firsts[last - 1])
        return
    at = 0 if first == last else lower_bound(dead, np.int64(firsts[first]), 0, len(dead))
    for child in range(first, last):
        begin = np.int64(firsts[child])
        end = np.int64(firsts[child + 1]) if child + 1 < last else high
        after = _skip(dead, at, end)
        if end - begin > after - at:
            code = np.int64(codes[child])
            tokens[filled] = part.alphabet[code - 1] if 0 < code <= sigma else np.uint32(0)
            counts[filled] = end - begin - (after - at)
            filled += 1
        at = after


@njit(nogil=True, cache=True)
def continue_rows(
    part: PartArrays, bounds: NDArray[np.uint32], depths: NDArray[np.int32], dead: NDArray[np.uint32]
) -> tuple[NDArray[np.int64], NDArray[np.uint32], NDArray[np.int64]]:  # pragma: no cover - compiled
    """The tokens that follow each interval, with their live counts.

    Args:
        part: the arrays.
        bounds: (rows, 2), the intervals.
        depths: (rows,), how many tokens each stands for.
        dead: (ranks,), the ranks of deleted suffixes, ascending.

    Returns:
        Offsets (rows + 1,), tokens and counts (offsets[-1],); tokens ascend within a row.
    """
    rows, total = len(bounds), len(part.suffixes)
    offsets = np.zeros(rows + 1, np.int64)
    nodes = np.full(rows, -1, np.int64)
    places = np.zeros((rows, 2), np.int64)
    codes, firsts = np.empty(1024, np.uint32), np.empty(1024, np.uint32)
    filled = 0
    for row in range(rows):
        low, high = np.int64(bounds[row, 0]), min(np.int64(bounds[row, 1]), total)
        found = 0
        if low < high:
            depth = np.int64(depths[row])
            nodes[row] = find_node(part, low, high - low, depth)
            if nodes[row] >= 0:
                places[row] = children_of(part, nodes[row])
                found = _count_live_children(part.child_firsts, places[row, 0], places[row, 1], high, dead)
            else:
                need = filled + min(high - low, len(part.alphabet))
                if need > len(codes):
                    size = max(need, 2 * len(codes))
                    grown_codes, grown_firsts = np.empty(size, np.uint32), np.empty(size, np.uint32)
                    grown_codes[:filled], grown_firsts[:filled] = codes[:filled], firsts[:filled]
                    codes, firsts = grown_codes, grown_firsts
                places[row, 0] = filled
                filled = list_children(part, low, high, depth, codes, firsts, filled)
                places[row, 1] = filled
                found = _count_live_children(firsts, places[row, 0], filled, high, dead)
        offsets[row + 1] = offsets[row] + found
    tokens, counts = np.empty(offsets[rows], np.uint32), np.empty(offsets[rows], np.int64)
    for row in range(rows):
        high = min(np.int64(bounds[row, 1]), total)
        first, last, at = places[row, 0], places[row, 1], offsets[row]
        if nodes[row] >= 0:
            _write_children(
                part, part.child_codes, part.child_firsts, first, last, high, dead, tokens, counts, at
            )
        else:
            _write_children(part, codes, firsts, first, last, high, dead, tokens, counts, at)
    return offsets, tokens, counts
