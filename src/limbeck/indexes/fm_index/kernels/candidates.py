"""Scoring candidates in full, compiled: a trie of a query's entries walked along each candidate's text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from limbeck.indexes.fm_index.kernels.compiling import compiled
from limbeck.indexes.fm_index.kernels.scoring import (
    contribution,
    cover,
    is_free,
    lowest_bit,
    passage_bounds,
    table_place,
    table_size,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from limbeck.indexes.fm_index.kernels.layout import PartArrays
    from limbeck.indexes.fm_index.kernels.scoring import Entries, Int


PAIRS = 1 << 13


class Trie(NamedTuple):
    """The second-stage entries of a query; node 0 stands for none.

    Attributes:
        roots: (codes + 1,) the node of each first code.
        ends: (nodes,) the rank in the query of the entry that ends at a node, or the number of its entries.
        inner: (nodes,) whether a node has children.
        pairs: (PAIRS,) whether some entry begins with two codes of this hash. Most positions end here, in a
            table that stays in the nearest cache.
        keys, children: (size,) a hash table from `node << 32 | code` to the child.
        nested: how many entries end on one way down at most.
    """

    roots: NDArray[np.int32]
    ends: NDArray[np.int32]
    inner: NDArray[np.bool_]
    pairs: NDArray[np.bool_]
    keys: NDArray[np.int64]
    children: NDArray[np.int32]
    nested: Int


@compiled
def pair_place(first: Int, second: Int) -> Int:  # pragma: no cover - compiled
    """Where two codes stand in `Trie.pairs`."""
    return (first * 0x9E3B + second * 0x85EB) & (PAIRS - 1)


@compiled
def make_trie(entries: Entries, query: Int, roots: NDArray[np.int32]) -> Trie:  # pragma: no cover - compiled
    """Put the entries of a query that the part knows into a trie; `roots` (codes + 1,) is zeros."""
    start, stop = entries.queries[query], entries.queries[query + 1]
    room = entries.offsets[stop] - entries.offsets[start] + 1
    size = table_size(room)
    keys = np.full(size, -1, np.int64)
    children = np.zeros(size, np.int32)
    ends = np.full(room, stop - start, np.int32)
    inner = np.zeros(room, np.bool_)
    pairs = np.zeros(PAIRS, np.bool_)
    made = 1
    for entry in range(start, stop):
        if not (entries.second[entry] and is_known(entries, entry)):
            continue
        code = entries.codes[entries.offsets[entry]]
        if roots[code] == 0:
            roots[code] = made
            made += 1
        node: Int = np.int64(roots[code])
        if entries.offsets[entry + 1] - entries.offsets[entry] > 1:
            pairs[pair_place(code, entries.codes[entries.offsets[entry] + 1])] = True
        for place in range(entries.offsets[entry] + 1, entries.offsets[entry + 1]):
            key = (node << np.int64(32)) | entries.codes[place]
            slot = table_place(key, size)
            while keys[slot] >= 0 and keys[slot] != key:
                slot = (slot + 1) & (size - 1)
            if keys[slot] < 0:
                keys[slot] = key
                children[slot] = made
                inner[node] = True
                made += 1
            node = np.int64(children[slot])
        ends[node] = entry - start
    trie = Trie(roots, ends, inner, pairs, keys, children, 1)
    return Trie(roots, ends, inner, pairs, keys, children, _nesting(entries, query, trie))


@compiled
def is_known(entries: Entries, entry: Int) -> bool:  # pragma: no cover - compiled
    """Whether the part has all tokens of an entry."""
    for place in range(entries.offsets[entry], entries.offsets[entry + 1]):
        if entries.codes[place] == 0:
            return False
    return True


@compiled
def child_of(trie: Trie, node: Int, code: Int) -> Int:  # pragma: no cover - compiled
    """The child of a node along a code, or 0."""
    key = (node << np.int64(32)) | code
    size = len(trie.keys)
    slot = table_place(key, size)
    while trie.keys[slot] >= 0:
        if trie.keys[slot] == key:
            return np.int64(trie.children[slot])
        slot = (slot + 1) & (size - 1)
    return np.int64(0)


@compiled
def _nesting(entries: Entries, query: Int, trie: Trie) -> Int:  # pragma: no cover - compiled
    most = 1
    none = entries.queries[query + 1] - entries.queries[query]
    for entry in range(entries.queries[query], entries.queries[query + 1]):
        if not (entries.second[entry] and is_known(entries, entry)):
            continue
        ends = 0
        node: Int = np.int64(0)
        for place in range(entries.offsets[entry], entries.offsets[entry + 1]):
            code = entries.codes[place]
            first = place == entries.offsets[entry]
            node = np.int64(trie.roots[code]) if first else child_of(trie, node, code)
            ends += trie.ends[node] < none
        most = max(most, ends)
    return most


@compiled
def find_entries(  # noqa: PLR0917  # compiled functions take no keywords
    part: PartArrays,
    trie: Trie,
    begin: Int,
    stop: Int,
    heads: NDArray[np.int32],
    present: NDArray[np.int64],
    nexts: NDArray[np.int32],
    positions: NDArray[np.int32],
) -> None:  # pragma: no cover - compiled
    """Chain the occurrences in the text [begin, stop) by rank, positions ascending in a chain.

    Args:
        part: whose text it is.
        trie: what to look for.
        begin: where the passage begins.
        stop: where its end mark stands.
        heads: (entries of the query + 1,) -1; becomes the first occurrence of each rank. The last place is
            written to in place of a branch.
        present: (words,) zeros; bits of the ranks that occur, and of the last place.
        nexts: ((stop - begin) * nested + 1,) becomes the occurrence after each, or -1.
        positions: the same shape; becomes the place of each in the passage.
    """
    none = len(heads) - 1
    found: Int = 0
    after = np.int64(0)  # the code after the present one; 0 stands in no entry
    for position in range(stop - 1, begin - 1, -1):
        code = np.int64(part.text[position])
        node: Int = np.int64(trie.roots[code]) if code < len(trie.roots) else np.int64(0)
        go_on = trie.pairs[pair_place(code, after)]
        after = code
        place = position
        while True:
            rank: Int = np.int64(trie.ends[node])
            nexts[found] = heads[rank]
            positions[found] = position - begin
            heads[rank] = found
            present[rank >> 6] |= np.int64(1) << (rank & 63)
            found += rank < none
            place += 1
            if not (go_on and trie.inner[node]) or place >= stop:
                break
            node = child_of(trie, node, np.int64(part.text[place]))
            if node == 0:
                break
    heads[none] = -1
    present[none >> 6] &= ~(np.int64(1) << np.int64(none & 63))


@compiled
def second_stage(  # noqa: PLR0917  # compiled functions take no keywords
    part: PartArrays,
    entries: Entries,
    start: Int,
    stop: Int,
    offsets: NDArray[np.int64],
    rows: NDArray[np.int64],
    repetition: float,
    record: bool,
) -> tuple[Any, Any, Any, Any, Any]:  # pragma: no cover - compiled
    """Score the candidates of the queries [start, stop) with all entries.

    Args:
        part: the part in which the candidates lie.
        entries: of all queries.
        start: the first query.
        stop: the one after the last.
        offsets: (queries + 1,) the candidates of each query.
        rows: (candidates of all queries,) their rows in the part.
        repetition: beta.
        record: whether to return what matched as well.

    Returns:
        scores (candidates of these queries,); how many entries counted in each; and, flat over the
        candidates, which entries, at which position in the passage, with which contribution (empty without
        `record`).
    """
    first = offsets[start]
    scores = np.zeros(offsets[stop] - first)
    counts = np.zeros(offsets[stop] - first, np.int64)
    roots = np.zeros(len(part.alphabet) + 1, np.int32)
    seen = np.zeros(len(part.alphabet) + 1, np.int64)
    stamp = 0
    covered = np.zeros(16, np.int64)
    nexts = np.empty(1024, np.int32)
    positions = np.empty(1024, np.int32)
    matched = np.empty(1024 if record else 1, np.int64)
    matched_at = np.empty(len(matched), np.int64)
    matched_with = np.empty(len(matched), np.float64)
    total = 0
    for query in range(start, stop):
        if offsets[query] == offsets[query + 1]:
            continue
        trie = make_trie(entries, query, roots)
        base = entries.queries[query]
        width = entries.queries[query + 1] - base
        heads = np.full(width + 1, -1, np.int32)
        present = np.zeros((width >> 6) + 1, np.int64)
        for candidate in range(offsets[query], offsets[query + 1]):
            begin, end = passage_bounds(part, rows[candidate])
            if (end - begin) * trie.nested >= len(nexts):
                nexts = np.empty(2 * (end - begin) * trie.nested + 1, np.int32)
                positions = np.empty(len(nexts), np.int32)
            words = ((end - begin) >> 6) + 1
            if words > len(covered):
                covered = np.zeros(2 * words, np.int64)
            covered[:words] = 0
            if record and total + width > len(matched):
                matched = _grown(matched, total, width)
                matched_at = _grown(matched_at, total, width)
                matched_with = _grown(matched_with, total, width)
            find_entries(part, trie, begin, end, heads, present, nexts, positions)
            stamp += 1
            scores[candidate - first], counts[candidate - first] = _count_entries(
                entries,
                base,
                heads,
                present,
                nexts,
                positions,
                covered,
                seen,
                stamp,
                repetition,
                record,
                matched,
                matched_at,
                matched_with,
                total,
            )
            if record:
                total += counts[candidate - first]
        for entry in range(base, base + width):
            roots[entries.codes[entries.offsets[entry]]] = 0
    return scores, counts, matched[:total], matched_at[:total], matched_with[:total]


@compiled
def _grown(values: Any, used: Int, more: Int) -> Any:  # pragma: no cover - compiled
    grown = np.empty(2 * (used + more), values.dtype)
    grown[:used] = values[:used]
    return grown


@compiled
def _count_entries(  # noqa: PLR0917
    entries: Entries,
    base: Int,
    heads: NDArray[np.int32],
    present: NDArray[np.int64],
    nexts: NDArray[np.int32],
    positions: NDArray[np.int32],
    covered: NDArray[np.int64],
    seen: NDArray[np.int64],
    stamp: Int,
    repetition: float,
    record: bool,
    matched: NDArray[np.int64],
    matched_at: NDArray[np.int64],
    matched_with: NDArray[np.float64],
    total: Int,
) -> tuple[float, Int]:  # pragma: no cover - compiled
    """Count the entries that occur, best first, and clear `heads` and `present` on the way."""
    score = 0.0
    counted = 0
    for word in range(len(present)):
        bits = present[word]
        present[word] = 0
        while bits:
            rank = (word << 6) + lowest_bit(bits)
            bits &= bits - 1
            entry = base + rank
            start, stop = entries.offsets[entry], entries.offsets[entry + 1]
            occurrence = np.int64(heads[rank])
            heads[rank] = -1
            while occurrence >= 0 and not is_free(
                covered, np.int64(positions[occurrence]), positions[occurrence] + stop - start
            ):
                occurrence = np.int64(nexts[occurrence])
            if occurrence < 0:
                continue
            at = np.int64(positions[occurrence])
            cover(covered, at, at + stop - start)
            gain = contribution(entries.codes, start, stop, entries.weights[entry], repetition, seen, stamp)
            score += gain
            if record:
                matched[total + counted] = entry
                matched_at[total + counted] = at
                matched_with[total + counted] = gain
            counted += 1
    return score, counted
