"""Scoring passages by the identifiers that they contain, compiled; `aggregation` states the rule.

Design facts:
- Entries (identifiers and unigrams) come sorted by falling weight, so that an entry's place is its rank.
- First stage: the occurrences of the rarer identifiers are read off the suffix array and grouped by passage
  with a hash table; the text itself is not touched.
- Second stage: all entries of a query form a trie, whose first level is a table over the codes; the text of
  each candidate is walked once against it. Entries too frequent to be enumerated cost nothing extra.
- Occurrences are kept as one chain a rank, and the ranks that occur as bits, so that nothing is sorted.
- Covered positions are bits as well, 64 to a word: whether an occurrence is free takes one or two words.
- What the file says is not trusted: an occurrence or passage that is out of bounds is passed over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

from limbeck.indexes.fm_index.kernels.compiling import compiled
from limbeck.indexes.fm_index.kernels.layout import BLOCK_SHIFT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from limbeck.indexes.fm_index.kernels.layout import PartArrays

    Int = int | np.int64

_WORD = 64
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2⁶⁴ / golden ratio: spreads consecutive keys over a table


class Entries(NamedTuple):
    """The identifiers and unigrams of all queries, as one part sees them.

    Attributes:
        queries: (queries + 1,) the entries of each query; in a query by falling weight.
        weights: (entries,) all positive.
        offsets: (entries + 1,) the codes of each entry.
        codes: (tokens,) the part's codes, 0 for a token that the part does not have.
        lows, highs: (entries,) the interval of each in the suffix array (identifiers; unigrams: 0, 0).
        first: (entries,) whether it takes part in the first stage.
        second: (entries,) whether it takes part in the second: it is no repetition of an earlier one.
    """

    queries: NDArray[np.int64]
    weights: NDArray[np.float64]
    offsets: NDArray[np.int64]
    codes: NDArray[np.int64]
    lows: NDArray[np.int64]
    highs: NDArray[np.int64]
    first: NDArray[np.bool_]
    second: NDArray[np.bool_]


@intrinsic
def _trailing_zeros(_context: Any, _word: Any) -> Any:  # pragma: no cover - compiled
    """The processor's own instruction, which numba has no name for."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), generate


@compiled
def lowest_bit(word: Int) -> Int:  # pragma: no cover - compiled
    """The place of the lowest set bit of a word that is not 0."""
    return _trailing_zeros(word)  # type: ignore[call-arg]


@compiled
def low_bits(count: Int) -> Int:  # pragma: no cover - compiled
    """A word whose `count` (0..64) lowest bits are set."""
    return np.int64(-1) if count == _WORD else (np.int64(1) << np.int64(count)) - np.int64(1)


@compiled
def is_free(covered: NDArray[np.int64], start: Int, stop: Int) -> bool:  # pragma: no cover - compiled
    """Whether none of the bits [start, stop) of `covered` (words,) is set."""
    first, last = start >> 6, (stop - 1) >> 6
    for word in range(first, last + 1):
        mask = low_bits(min(stop - (word << 6), _WORD)) & ~low_bits(max(start - (word << 6), 0))
        if covered[word] & mask:
            return False
    return True


@compiled
def cover(covered: NDArray[np.int64], start: Int, stop: Int) -> None:  # pragma: no cover - compiled
    """Set the bits [start, stop) of `covered` (words,)."""
    first, last = start >> 6, (stop - 1) >> 6
    for word in range(first, last + 1):
        covered[word] |= low_bits(min(stop - (word << 6), _WORD)) & ~low_bits(max(start - (word << 6), 0))


@compiled
def contribution(  # noqa: PLR0917  # compiled functions take no keywords
    codes: NDArray[np.int64], start: Int, stop: Int, weight: float, repetition: float, seen: Any, stamp: Int
) -> float:  # pragma: no cover - compiled
    """What an entry (`codes[start:stop]`) adds; its codes are stamped as `seen` (codes + 1,) from now on."""
    new = 0
    for place in range(start, stop):
        if seen[codes[place]] != stamp:
            new += 1
    for place in range(start, stop):
        seen[codes[place]] = stamp
    return weight * (1.0 - repetition + repetition * (new / (stop - start)))


@compiled
def table_size(entries: Int) -> Int:  # pragma: no cover - compiled
    """A power of two that `entries` fill to a half at most."""
    size = 8
    while size < 2 * entries:
        size *= 2
    return size


@compiled
def table_place(key: Int, size: Int) -> Int:  # pragma: no cover - compiled
    """Where the search for `key` begins in a table of `size` (a power of two) places."""
    mixed = np.uint64(key) * _MULTIPLIER
    return np.int64(mixed >> np.uint64(32)) & (size - 1)


@compiled
def mark_first(
    queries: NDArray[np.int64],
    offsets: NDArray[np.int64],
    tokens: NDArray[np.uint32],
    member: NDArray[np.bool_],
) -> NDArray[np.bool_]:  # pragma: no cover - compiled
    """Which of the entries that are `member` (entries,) differ from all members before in their query."""
    first = np.zeros(len(member), np.bool_)
    for query in range(len(queries) - 1):
        start, stop = queries[query], queries[query + 1]
        size = table_size(stop - start)
        table = np.full(size, -1, np.int64)
        for entry in range(start, stop):
            if not member[entry]:
                continue
            length = offsets[entry + 1] - offsets[entry]
            key = np.uint64(length)
            for place in range(offsets[entry], offsets[entry + 1]):
                key = (key ^ np.uint64(tokens[place])) * _MULTIPLIER
                key ^= key >> np.uint64(29)
            slot = np.int64(key >> np.uint64(8)) & (size - 1)
            while table[slot] >= 0 and not _same(offsets, tokens, table[slot], entry):
                slot = (slot + 1) & (size - 1)
            if table[slot] < 0:
                table[slot] = entry
                first[entry] = True
    return first


@compiled
def _same(
    offsets: NDArray[np.int64], tokens: NDArray[np.uint32], one: Int, other: Int
) -> bool:  # pragma: no cover - compiled
    length = offsets[one + 1] - offsets[one]
    if offsets[other + 1] - offsets[other] != length:
        return False
    for place in range(length):  # noqa: SIM110  # all() is not compiled
        if tokens[offsets[one] + place] != tokens[offsets[other] + place]:
            return False
    return True


@compiled
def passage_at(part: PartArrays, position: Int, length: Int) -> Int:  # pragma: no cover - compiled
    """The passage that holds the positions [position, position + length) of the text, or -1."""
    passages = len(part.starts) - 1
    if position >= len(part.text) or (position >> BLOCK_SHIFT) >= len(part.blocks):
        return np.int64(-1)
    row = np.int64(part.blocks[position >> BLOCK_SHIFT])
    while row + 1 < passages and np.int64(part.starts[row + 1]) <= position:
        row += 1
    if row >= passages or np.int64(part.starts[row]) > position:
        return np.int64(-1)
    stop = np.int64(part.starts[row + 1])
    return row if position + length < stop <= len(part.text) else np.int64(-1)


@compiled
def passage_bounds(part: PartArrays, row: Int) -> tuple[Int, Int]:  # pragma: no cover - compiled
    """Where the text of a passage begins and where its end mark stands."""
    stop = np.int64(part.starts[row + 1]) - 1
    if stop >= len(part.text):
        return np.int64(0), np.int64(0)
    return min(np.int64(part.starts[row]), stop), stop


@compiled
def read_occurrences(
    part: PartArrays, entries: Entries, query: Int
) -> tuple[Any, Any, Any]:  # pragma: no cover - compiled
    """The occurrences of a query's first-stage entries: entries, positions in the text, passages or -1."""
    total = 0
    for entry in range(entries.queries[query], entries.queries[query + 1]):
        if entries.first[entry]:
            total += max(min(entries.highs[entry], len(part.suffixes)) - entries.lows[entry], 0)
    entry_of = np.empty(total, np.int64)
    positions = np.empty(total, np.int64)
    rows = np.empty(total, np.int64)
    read = 0
    for entry in range(entries.queries[query], entries.queries[query + 1]):
        if entries.first[entry]:
            for rank in range(entries.lows[entry], min(entries.highs[entry], len(part.suffixes))):
                positions[read] = part.suffixes[rank]
                entry_of[read] = entry
                read += 1
    # A loop of its own: its loads, which miss the caches, then overlap.
    for occurrence in range(total):
        entry = entry_of[occurrence]
        length = entries.offsets[entry + 1] - entries.offsets[entry]
        rows[occurrence] = passage_at(part, positions[occurrence], length)
    return entry_of, positions, rows


@compiled
def number_passages(
    rows: NDArray[np.int64], passages: Int, dead: NDArray[np.bool_]
) -> tuple[Any, Any]:  # pragma: no cover - compiled
    """Number the passages of occurrences in the order in which they come.

    Args:
        rows: (occurrences,) the passage of each, or -1; becomes its number, or -1 where it is deleted.
        passages: in the part.
        dead: (passages,) True for deleted passages, or (0,) when none is.

    Returns:
        The passages (found,), and the offsets (found + 1,) of their occurrences once these are grouped.
    """
    size = table_size(min(len(rows), passages))
    table = np.full(size, -1, np.int64)  # row << 31 | number
    found = np.empty(len(rows), np.int64)
    counts = np.zeros(len(rows) + 1, np.int64)
    count = 0
    for occurrence in range(len(rows)):
        row = rows[occurrence]
        if row < 0 or (len(dead) and dead[row]):
            rows[occurrence] = -1
            continue
        place = table_place(row, size)
        while table[place] >= 0 and table[place] >> 31 != row:
            place = (place + 1) & (size - 1)
        if table[place] < 0:
            table[place] = (row << 31) | count
            found[count] = row
            count += 1
        number = table[place] & 0x7FFFFFFF
        rows[occurrence] = number
        counts[number + 1] += 1
    return found[:count], np.cumsum(counts[: count + 1])


@compiled
def gather(
    part: PartArrays, dead: NDArray[np.bool_], entries: Entries, query: Int
) -> tuple[Any, Any, Any, Any]:  # pragma: no cover - compiled
    """The occurrences of a query's first-stage entries, grouped by passage.

    Args:
        part: what is searched.
        dead: (passages,) True for deleted passages, or (0,) when none is.
        entries: of all queries.
        query: which one.

    Returns:
        rows (found,), the passages; offsets (found + 1,), the occurrences of each; ranks (occurrences,),
        the entries, ascending in a passage; positions (occurrences,), in the text.
    """
    entry_of, position_of, number_of = read_occurrences(part, entries, query)
    rows, offsets = number_passages(number_of, len(part.starts) - 1, dead)
    free = offsets[:-1].copy()
    ranks = np.empty(offsets[-1], np.int64)
    positions = np.empty(offsets[-1], np.int64)
    for occurrence in range(len(number_of)):
        number = number_of[occurrence]
        if number >= 0:
            ranks[free[number]] = entry_of[occurrence]
            positions[free[number]] = position_of[occurrence]
            free[number] += 1
    return rows, offsets, ranks, positions


@compiled
def best_of(
    scores: NDArray[np.float64], rows: NDArray[np.int64], limit: Int
) -> NDArray[np.int64]:  # pragma: no cover - compiled
    """Places of the `limit` highest `scores` (found,), ties by lower row; ordered by row, (<= limit,)."""
    if len(scores) <= limit:
        return np.argsort(rows)
    if limit == 0:
        return np.empty(0, np.int64)
    bar = np.partition(scores, len(scores) - limit)[len(scores) - limit]
    level = np.flatnonzero(scores >= bar)
    level = level[np.argsort(rows[level])]
    room = limit - np.count_nonzero(scores[level] > bar)
    chosen = np.empty(limit, np.int64)
    taken = 0
    for place in level:
        if scores[place] == bar:
            if room == 0:
                continue
            room -= 1
        chosen[taken] = place
        taken += 1
    return chosen


@compiled
def first_stage(  # noqa: PLR0917  # compiled functions take no keywords
    part: PartArrays,
    dead: NDArray[np.bool_],
    entries: Entries,
    start: Int,
    stop: Int,
    repetition: float,
    limit: Int,
) -> tuple[Any, Any, Any]:  # pragma: no cover - compiled
    """The best candidates of the queries [start, stop), by their first-stage entries alone.

    Returns:
        counts (stop - start,), how many each query has; rows and scores (candidates,), by rising row.
    """
    seen = np.zeros(len(part.alphabet) + 1, np.int64)
    stamp = 0
    counts = np.zeros(stop - start, np.int64)
    all_rows = [np.empty(0, np.int64)]
    all_scores = [np.empty(0, np.float64)]
    covered = np.zeros(16, np.int64)
    for query in range(start, stop):
        rows, offsets, ranks, positions = gather(part, dead, entries, query)
        scores = np.zeros(len(rows))
        for candidate in range(len(rows)):
            if offsets[candidate + 1] == offsets[candidate] + 1:  # by far the most: all is free and new
                weight = entries.weights[ranks[offsets[candidate]]]
                scores[candidate] = weight * (1.0 - repetition + repetition * 1.0)
                continue
            stamp += 1
            begin, end = passage_bounds(part, rows[candidate])
            words = ((end - begin) >> 6) + 1
            if words > len(covered):
                covered = np.zeros(2 * words, np.int64)
            covered[:words] = 0
            scores[candidate] = _score_occurrences(
                entries,
                ranks,
                positions,
                offsets[candidate],
                offsets[candidate + 1],
                begin,
                repetition,
                covered,
                seen,
                stamp,
            )
        chosen = best_of(scores, rows, limit)
        counts[query - start] = len(chosen)
        all_rows.append(rows[chosen])
        all_scores.append(scores[chosen])
    return counts, _joined(all_rows, counts), _joined(all_scores, counts)


@compiled
def _joined(pieces: Any, counts: NDArray[np.int64]) -> Any:  # pragma: no cover - compiled
    """The arrays of a list in one; its first is empty and only says the type."""
    joined = np.empty(counts.sum(), pieces[0].dtype)
    place = 0
    for piece in pieces:
        joined[place : place + len(piece)] = piece
        place += len(piece)
    return joined


@compiled
def _score_occurrences(  # noqa: PLR0917
    entries: Entries,
    ranks: NDArray[np.int64],
    positions: NDArray[np.int64],
    place: Int,
    stop: Int,
    begin: Int,
    repetition: float,
    covered: NDArray[np.int64],
    seen: Any,
    stamp: Int,
) -> float:  # pragma: no cover - compiled
    """The score of one passage by its occurrences [place, stop), ranks ascending; `begin` is its start."""
    score = 0.0
    while place < stop:
        entry = ranks[place]
        length = entries.offsets[entry + 1] - entries.offsets[entry]
        lowest = np.int64(-1)
        while place < stop and ranks[place] == entry:
            at = positions[place] - begin
            if (lowest < 0 or at < lowest) and is_free(covered, at, at + length):
                lowest = at
            place += 1
        if lowest >= 0:
            cover(covered, lowest, lowest + length)
            score += contribution(
                entries.codes,
                entries.offsets[entry],
                entries.offsets[entry + 1],
                entries.weights[entry],
                repetition,
                seen,
                stamp,
            )
    return score
