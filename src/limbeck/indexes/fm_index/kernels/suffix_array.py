"""Sorting the suffixes of a text: buckets, packed keys, and prefix doubling for long repeats; compiled.

Suffixes are placed by their first code, then each bucket is sorted by keys of 64 bits that hold the next
four codes (two, when a code takes 32 bits). Ties go on with the next codes. After `ROUNDS` keys what is still
tied repeats at length, and is finished by prefix doubling (Larsson and Sadakane 2007, "Faster suffix
sorting"): the rank of the suffix that starts where the known prefix ends orders it, and the known prefix
doubles each time.
A suffix ends with its passage, so code 0 sorts first and cuts a key; equal suffixes stand by position.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import int64, uint64

from limbeck.indexes.fm_index.kernels.compiling import compiled

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

ROUNDS = 4
PADDING = 8
"""Zeros that must follow the text in memory, so that a key may be read anywhere."""
_SMALL = 24
_RADIX = 768
"""Longer runs are sorted by digits: linear whatever the keys are."""


@compiled
def place_by_first(
    text: NDArray[Any], length: int, counts: NDArray[np.int64], suffixes: NDArray[np.uint32]
) -> None:  # pragma: no cover - compiled
    """Counting sort by the first code.

    Args:
        text: (length + PADDING,) codes.
        length: codes in the text.
        counts: (codes + 2,) zeros; filled so that code c has ranks counts[c] to counts[c + 1].
        suffixes: (tokens,), written to.
    """
    for position in range(length):
        counts[int64(text[position]) + 1] += 1
    counts[1] = 0
    for code in range(2, len(counts)):
        counts[code] += counts[code - 1]
    places = counts.copy()
    for position in range(length):
        code = int64(text[position])
        if code:
            suffixes[places[code]] = position
            places[code] += 1


@compiled
def read_keys(
    text: NDArray[Any],
    positions: NDArray[np.uint32],
    size: int,
    depth: int,
    keys: NDArray[np.uint64],
) -> None:  # pragma: no cover - compiled
    """Packs the codes from `depth` on of each of `size` suffixes into `keys`, cut at the passage's end."""
    bits = uint64(8 * text.itemsize)
    zero = uint64(0)
    if text.itemsize == 2:
        for index in range(size):
            at = int64(positions[index]) + depth
            a, b = uint64(text[at]), uint64(text[at + 1])
            c, d = uint64(text[at + 2]), uint64(text[at + 3])
            if a == zero:
                b = zero
            if b == zero:
                c = zero
            if c == zero:
                d = zero
            keys[index] = (((((a << bits) | b) << bits) | c) << bits) | d
    else:
        for index in range(size):
            at = int64(positions[index]) + depth
            a, b = uint64(text[at]), uint64(text[at + 1])
            keys[index] = (a << bits) | (b if a != zero else zero)


@compiled
def _insertion_sort(
    keys: NDArray[np.uint64], values: NDArray[np.uint32], low: int, high: int
) -> None:  # pragma: no cover - compiled
    for index in range(low + 1, high):
        key, value = keys[index], values[index]
        place = index
        while place > low and (
            keys[place - 1] > key or (keys[place - 1] == key and values[place - 1] > value)
        ):
            keys[place] = keys[place - 1]
            values[place] = values[place - 1]
            place -= 1
        keys[place] = key
        values[place] = value


@compiled
def _quicksort(
    keys: NDArray[np.uint64], values: NDArray[np.uint32], low: int, high: int
) -> None:  # pragma: no cover - compiled
    """Sorts entries [low, high) by key; runs that are longer than `_SMALL` are split in three at a pivot."""
    stack = np.empty((64, 2), np.int64)
    depth = 0
    while True:
        while high - low > _SMALL:
            a, b, c = keys[low], keys[(low + high) >> 1], keys[high - 1]
            pivot = max(min(a, b), min(max(a, b), c))
            # Without branches on the keys: what is smaller moves to the front, then what is equal.
            less = low
            for index in range(low, high):
                key, value = keys[index], values[index]
                keys[index], values[index] = keys[less], values[less]
                keys[less], values[less] = key, value
                less += key < pivot
            same = less
            for index in range(less, high):
                key, value = keys[index], values[index]
                keys[index], values[index] = keys[same], values[same]
                keys[same], values[same] = key, value
                same += key == pivot
            if same - less > 1:
                _sort_values(values, less, same)
            # The longer side waits, so that the stack stays short.
            if less - low > high - same:
                stack[depth, 0], stack[depth, 1] = low, less
                low = same
            else:
                stack[depth, 0], stack[depth, 1] = same, high
                high = less
            depth += 1
        _insertion_sort(keys, values, low, high)
        if depth == 0:
            return
        depth -= 1
        low, high = stack[depth, 0], stack[depth, 1]


@compiled
def _sort_values(values: NDArray[np.uint32], low: int, high: int) -> None:  # pragma: no cover - compiled
    """Sorts positions [low, high) ascending, when they are not so already."""
    for index in range(low + 1, high):
        if values[index - 1] > values[index]:
            values[low:high] = np.sort(values[low:high])
            return


@compiled
def _radix_sort(  # noqa: PLR0917
    keys: NDArray[np.uint64],
    values: NDArray[np.uint32],
    spare_keys: NDArray[np.uint64],
    spare_values: NDArray[np.uint32],
    low: int,
    high: int,
    shift: int,
) -> None:  # pragma: no cover - compiled
    """Sorts entries [low, high) stably by the 32 bits of the key from `shift` on, a byte at a time."""
    counts = np.zeros((4, 256), np.int64)
    for index in range(low, high):
        key = keys[index] >> uint64(shift)
        for digit in range(4):
            counts[digit, int64((key >> uint64(8 * digit)) & uint64(255))] += 1
    from_keys, from_values, to_keys, to_values = keys, values, spare_keys, spare_values
    moved = 0
    for digit in range(4):
        bits = uint64(shift + 8 * digit)
        if counts[digit, int64((keys[low] >> bits) & uint64(255))] == high - low:
            continue
        total = low
        for value in range(256):
            count = counts[digit, value]
            counts[digit, value] = total
            total += count
        for index in range(low, high):
            key = from_keys[index]
            place = counts[digit, int64((key >> bits) & uint64(255))]
            counts[digit, int64((key >> bits) & uint64(255))] += 1
            to_keys[place] = key
            to_values[place] = from_values[index]
        from_keys, from_values, to_keys, to_values = to_keys, to_values, from_keys, from_values
        moved += 1
    if moved & 1:
        keys[low:high] = spare_keys[low:high]
        values[low:high] = spare_values[low:high]


@compiled
def sort_by_key(
    keys: NDArray[np.uint64],
    values: NDArray[np.uint32],
    spare_keys: NDArray[np.uint64],
    spare_values: NDArray[np.uint32],
    size: int,
) -> None:  # pragma: no cover - compiled
    """Sorts the first `size` entries by key, equal keys by value; the values come in ascending.

    Args:
        keys: (capacity,).
        values: (capacity,), moved with the keys.
        spare_keys: (capacity,), overwritten.
        spare_values: (capacity,), overwritten.
        size: entries to sort.
    """
    if size <= _RADIX:
        _quicksort(keys, values, 0, size)
        return
    _radix_sort(keys, values, spare_keys, spare_values, 0, size, 32)
    low = 0
    while low < size:
        top = keys[low] >> uint64(32)
        high = low + 1
        while high < size and keys[high] >> uint64(32) == top:
            high += 1
        if high - low > _RADIX:
            _radix_sort(keys, values, spare_keys, spare_values, low, high, 0)
        elif high - low > 1:
            _quicksort(keys, values, low, high)
        low = high


@compiled
def _place_group(  # noqa: PLR0917
    keys: NDArray[np.uint64],
    positions: NDArray[np.uint32],
    size: int,
    low: int,
    suffixes: NDArray[np.uint32],
    ranks: NDArray[np.uint32],
    left: NDArray[np.uint32],
    tied: int,
) -> tuple[NDArray[np.uint32], int]:  # pragma: no cover - compiled
    """Puts a sorted group in its place.

    Args:
        keys: (capacity,), what `ranks` says of the position that follows the known prefix of each suffix.
        positions: (capacity,), the suffixes.
        size: how many they are.
        low: the rank of the first.
        suffixes: (tokens,), written to.
        ranks: (length + PADDING,), the rank of each position, or the first rank of its group, plus 1; 0 at an
            end; written to.
        left: (capacity, 2), the groups that are tied after this round; written to, or a larger copy of it.
        tied: how many of them there are.

    Returns:
        `left` and `tied` as they are now.
    """
    begin = 0
    while begin < size:
        key = keys[begin]
        end = begin + 1
        while end < size and keys[end] == key:
            end += 1
        is_tied = end - begin > 1 and key != uint64(0)
        for index in range(begin, end):
            suffixes[low + index] = positions[index]
            ranks[positions[index]] = low + 1 + (begin if is_tied else index)
        if is_tied:
            if tied == len(left):
                grown = np.empty((2 * tied + 64, 2), np.uint32)
                grown[:tied] = left
                left = grown
            left[tied, 0], left[tied, 1] = low + begin, low + end
            tied += 1
        begin = end
    return left, tied


@compiled
def double_prefixes(
    length: int,
    suffixes: NDArray[np.uint32],
    groups: NDArray[np.uint32],
    depth: int,
) -> None:  # pragma: no cover - compiled
    """Finishes what is tied after `depth` codes, none of which ends a passage.

    Args:
        length: codes in the text.
        suffixes: (tokens,), sorted but for the tied groups, which have ascending positions; written to.
        groups: (tied, 2), the ranks at which each tied group begins and ends, ascending.
        depth: how many codes the members of a group share.
    """
    ranks = np.zeros(length + PADDING, np.uint32)
    for rank in range(len(suffixes)):
        ranks[suffixes[rank]] = rank + 1
    largest = 0
    for group in range(len(groups)):
        low, high = int64(groups[group, 0]), int64(groups[group, 1])
        largest = max(largest, high - low)
        for rank in range(low, high):
            ranks[suffixes[rank]] = low + 1
    keys, spare_keys = np.empty(largest, np.uint64), np.empty(largest, np.uint64)
    positions, spare_positions = np.empty(largest, np.uint32), np.empty(largest, np.uint32)
    while len(groups):
        left = np.empty((len(groups), 2), np.uint32)
        tied = 0
        for group in range(len(groups)):
            low, high = int64(groups[group, 0]), int64(groups[group, 1])
            size = high - low
            for index in range(size):
                positions[index] = suffixes[low + index]
                keys[index] = ranks[int64(positions[index]) + depth]
            sort_by_key(keys, positions, spare_keys, spare_positions, size)
            left, tied = _place_group(keys, positions, size, low, suffixes, ranks, left, tied)
        groups = left[:tied]
        depth *= 2
