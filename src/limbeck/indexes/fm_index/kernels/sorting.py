"""Sorting bucket by bucket, and noting the children of wide nodes while the keys are at hand; compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import uint64

from limbeck.indexes.fm_index.kernels.compiling import compiled
from limbeck.indexes.fm_index.kernels.layout import DEPTHS, WIDE_CHILDREN, WIDE_SIZE
from limbeck.indexes.fm_index.kernels.suffix_array import ROUNDS, read_keys, sort_by_key

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray


@compiled
def sort_buckets(  # noqa: PLR0917
    text: NDArray[Any],
    suffixes: NDArray[np.uint32],
    bucket_starts: NDArray[np.int64],
    bucket: int,
    largest: int,
    codes: NDArray[Any],
    firsts: NDArray[np.uint32],
    lows: NDArray[np.uint32],
    sizes: NDArray[np.uint32],
    filled: NDArray[np.int64],
) -> tuple[int, NDArray[np.uint32]]:  # pragma: no cover - compiled
    """Sorts buckets from `bucket` on until the room for children may not last for the next one.

    Args:
        text: (length + PADDING,) codes.
        suffixes: (tokens,), grouped by first code; written to.
        bucket_starts: (codes + 2,), the ranks at which each code's bucket begins.
        bucket: the code of the first bucket to sort.
        largest: the size of the largest bucket.
        codes: (DEPTHS, room), the children's codes by depth of their node; written to.
        firsts: (DEPTHS, room), the children's first ranks; written to.
        lows: (DEPTHS, room // WIDE_CHILDREN + 1), the nodes' first ranks; written to.
        sizes: like lows, how many children each node has; written to.
        filled: (2, DEPTHS), how many children and nodes were written; written to.

    Returns:
        The bucket to go on with, and the groups (tied, 2) that are still tied after all rounds.
    """
    tokens = 8 // text.itemsize
    bits = 64 // tokens
    room = codes.shape[1]
    keys, spare_keys = np.empty(largest, np.uint64), np.empty(largest, np.uint64)
    values, spare_values = np.empty(largest, np.uint32), np.empty(largest, np.uint32)
    groups = np.empty((largest // 2 + 1, 2), np.int64)
    ties = np.empty((largest // 2 + 1, 2), np.int64)
    runs = np.empty((2, largest // WIDE_SIZE + 2, 2), np.int64)
    left = np.empty((64, 2), np.uint32)
    left_over = 0
    while bucket + 1 < len(bucket_starts):
        low, high = bucket_starts[bucket], bucket_starts[bucket + 1]
        if filled[0].max() + high - low > room:
            break
        groups[0, 0], groups[0, 1] = low, high
        count = 1
        for turn in range(ROUNDS):
            depth = 1 + turn * tokens
            tied = 0
            for group in range(count):
                low, high = int(groups[group, 0]), int(groups[group, 1])
                size = high - low
                values[:size] = suffixes[low:high]
                read_keys(text, values, size, depth, keys)
                sort_by_key(keys, values, spare_keys, spare_values, size)
                suffixes[low:high] = values[:size]
                if size >= WIDE_SIZE:
                    _write_children(
                        keys, size, low, depth, tokens, bits, runs, codes, firsts, lows, sizes, filled
                    )
                tied = _note_ties(keys, size, low, bits, ties, tied)
            groups, ties = ties, groups
            count = tied
            if count == 0:
                break
        for group in range(count):
            if left_over == len(left):
                grown = np.empty((2 * left_over, 2), np.uint32)
                grown[:left_over] = left
                left = grown
            left[left_over] = groups[group]
            left_over += 1
        bucket += 1
    return bucket, left[:left_over].copy()


@compiled
def _note_ties(  # noqa: PLR0917
    keys: NDArray[np.uint64], size: int, low: int, bits: int, ties: NDArray[np.int64], tied: int
) -> int:  # pragma: no cover - compiled
    """Adds the runs of equal keys that do not end a passage to `ties` (capacity, 2); how many there are."""
    last_code = uint64((1 << bits) - 1)
    begin = 0
    while begin < size:
        key = keys[begin]
        end = begin + 1
        while end < size and keys[end] == key:
            end += 1
        if end - begin > 1 and key & last_code:
            ties[tied, 0], ties[tied, 1] = low + begin, low + end
            tied += 1
        begin = end
    return tied


@compiled
def _write_children(  # noqa: PLR0917
    keys: NDArray[np.uint64],
    size: int,
    low: int,
    depth: int,
    tokens: int,
    bits: int,
    runs: NDArray[np.int64],
    codes: NDArray[Any],
    firsts: NDArray[np.uint32],
    lows: NDArray[np.uint32],
    sizes: NDArray[np.uint32],
    filled: NDArray[np.int64],
) -> None:  # pragma: no cover - compiled
    """Writes the children of the wide nodes of `depth` and the following depths that a key covers.

    Args:
        keys: (capacity,), the sorted keys of one group: suffixes that share `depth` codes.
        size: how many keys.
        low: the rank of the first.
        depth: codes before the key.
        tokens: codes in a key.
        bits: bits in a code.
        runs: (2, capacity, 2), scratch.
        codes: (DEPTHS, room), the children's codes; written to, like those that follow.
        firsts: (DEPTHS, room), the children's first ranks.
        lows: (DEPTHS, nodes), the nodes' first ranks.
        sizes: (DEPTHS, nodes), how many children each node has.
        filled: (2, DEPTHS), how many children and nodes there are.
    """
    mask = uint64((1 << bits) - 1)
    runs[0, 0, 0], runs[0, 0, 1] = 0, size
    wide = 1
    for token in range(tokens):
        if depth + token >= DEPTHS or wide == 0:
            return
        here, there = token & 1, 1 - (token & 1)
        shift = uint64(bits * (tokens - 1 - token))
        child, node = filled[0, depth + token], filled[1, depth + token]
        narrower = 0
        for run in range(wide):
            begin, last = runs[here, run]
            first_child = child
            while begin < last:
                top = keys[begin] >> shift
                end = begin + 1
                while end < last and keys[end] >> shift == top:
                    end += 1
                if top & mask:
                    codes[depth + token, child] = top & mask
                    firsts[depth + token, child] = low + begin
                    child += 1
                    if end - begin >= WIDE_SIZE:
                        runs[there, narrower, 0], runs[there, narrower, 1] = begin, end
                        narrower += 1
                begin = end
            if child - first_child >= WIDE_CHILDREN:
                lows[depth + token, node] = low + runs[here, run, 0]
                sizes[depth + token, node] = child - first_child
                node += 1
            else:
                child = first_child
        filled[0, depth + token], filled[1, depth + token] = child, node
        wide = narrower
