"""One step down the suffix tree: the symbol after a prefix, wide nodes, their children; compiled.

All functions are inlined into the batch kernels. Ranks and positions are int64 inside kernels: mixing
unsigned and signed 64-bit integers would give floating-point numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import int64

from limbeck.indexes.fm_index.kernels.compiling import compiled
from limbeck.indexes.fm_index.kernels.layout import DEPTHS, WIDE_SIZE

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from limbeck.indexes.fm_index.kernels.layout import PartArrays

LINEAR = 48
"""Up to this many suffixes are scanned: their loads overlap, while those of a binary search wait."""


@compiled
def symbol(part: PartArrays, rank: int, depth: int) -> int:  # pragma: no cover - compiled
    """The code `depth` tokens into the suffix of rank `rank`; 0 at its passage's end."""
    position = int64(part.suffixes[rank]) + depth
    return int(int64(part.text[position])) if position < len(part.text) else 0


@compiled
def lower_bound(values: NDArray[Any], value: int, low: int, high: int) -> int:  # pragma: no cover - compiled
    """The first index in [low, high) of ascending `values` (n,) with an entry >= value; else high."""
    while low < high:
        middle = (low + high) >> 1
        if int64(values[middle]) < value:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def live(dead: NDArray[np.uint32], low: int, high: int) -> int:  # pragma: no cover - compiled
    """How many ranks in [low, high) are not in `dead` (ranks,), ascending."""
    if len(dead) == 0:
        return high - low
    first = lower_bound(dead, low, 0, len(dead))
    return high - low - (lower_bound(dead, high, first, len(dead)) - first)


@compiled
def code_of(alphabet: NDArray[np.uint32], token: int) -> int:  # pragma: no cover - compiled
    """The code of a token id; 0 when it occurs nowhere. `alphabet` (codes,) is ascending without repeats."""
    size = len(alphabet)
    if size == 0:
        return 0
    first, last = int64(alphabet[0]), int64(alphabet[size - 1])
    if token < first or token > last:
        return 0
    # Each step along the alphabet adds at least one to the id, so both ends bound the place.
    low, high = max(0, size - 1 - (last - token)), min(size - 1, token - first)
    place = lower_bound(alphabet, token, low, high)
    return place + 1 if int64(alphabet[place]) == token else 0


@compiled
def find_node(part: PartArrays, low: int, size: int, depth: int) -> int:  # pragma: no cover - compiled
    """The wide node of `depth` tokens that begins at rank `low`; -1 when there is none."""
    if depth >= DEPTHS or (size < WIDE_SIZE and depth > 0):
        return -1
    base = part.depth_nodes[depth]
    count = part.depth_nodes[depth + 1] - base
    if count == 0:
        return -1
    while count > 1:
        half = count >> 1
        base = base + half if int64(part.node_lows[base + half]) <= low else base
        count -= half
    return base if int64(part.node_lows[base]) == low else -1


@compiled
def children_of(part: PartArrays, node: int) -> tuple[int, int]:  # pragma: no cover - compiled
    """The range of a wide node's children, within what is stored."""
    total = len(part.child_codes)
    first = min(max(part.node_children[node], 0), total)
    return first, min(max(part.node_children[node + 1], first), total)


@compiled
def run_end(  # compiled functions take no keywords
    part: PartArrays, rank: int, high: int, depth: int, code: int
) -> int:  # pragma: no cover - compiled
    """Where the run of `code` that begins at `rank` ends, at most `high`: galloping, then halving."""
    step = 1
    while rank + step < high and symbol(part, rank + step, depth) == code:
        step <<= 1
    low, high = rank + (step >> 1) + 1, min(rank + step, high)
    while low < high:
        middle = (low + high) >> 1
        if symbol(part, middle, depth) == code:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def first_of(
    part: PartArrays, low: int, high: int, depth: int, code: int
) -> int:  # pragma: no cover - compiled
    """The first rank in [low, high) whose symbol at `depth` is >= code; else high."""
    while low < high:
        middle = (low + high) >> 1
        if symbol(part, middle, depth) < code:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def step(
    part: PartArrays, low: int, high: int, depth: int, code: int
) -> tuple[int, int]:  # pragma: no cover - compiled
    """The interval of a prefix of `depth` tokens at [low, high), extended by `code`; (0, 0) when empty."""
    high = min(high, len(part.suffixes))
    if low >= high or code == 0:
        return 0, 0
    node = find_node(part, low, high - low, depth)
    if node >= 0:
        first, last = children_of(part, node)
        place = first + code - 1  # every code follows: a child's place is known
        if last - first != len(part.alphabet):
            place = lower_bound(part.child_codes, code, first, last)
        if place >= last or int64(part.child_codes[place]) != code:
            return 0, 0
        begin = int64(part.child_firsts[place])
        end = int64(part.child_firsts[place + 1]) if place + 1 < last else high
        return (begin, end) if low <= begin < end <= high else (0, 0)
    if high - low <= LINEAR:
        begin, found = low, 0
        for rank in range(low, high):
            here = symbol(part, rank, depth)
            begin += here < code
            found += here == code
        return (begin, begin + found) if found else (0, 0)
    begin = first_of(part, low, high, depth, code)
    if begin == high or symbol(part, begin, depth) != code:
        return 0, 0
    return begin, run_end(part, begin, high, depth, code)


@compiled
def list_children(  # noqa: PLR0917
    part: PartArrays,
    low: int,
    high: int,
    depth: int,
    codes: NDArray[np.uint32],
    firsts: NDArray[np.uint32],
    filled: int,
) -> int:  # pragma: no cover - compiled
    """Lists the followers of a prefix that is no wide node, ascending, from entry `filled` on.

    Args:
        part: the arrays.
        low: first rank of the interval.
        high: its end, at most the number of suffixes.
        depth: tokens in the prefix.
        codes: (capacity,), written to; room for min(high - low, codes in the alphabet) more.
        firsts: (capacity,), the first rank of each; the last one ends at `high`.
        filled: how many entries are taken.

    Returns:
        How many entries are taken now.
    """
    room = len(codes)
    before, rank = 0, low
    galloping = high - low > LINEAR
    while rank < high:
        code = symbol(part, rank, depth)
        if code != before and filled < room:
            codes[filled] = code
            firsts[filled] = rank
            filled += 1
            before = code
        rank = run_end(part, rank, high, depth, code) if galloping else rank + 1
    return filled
