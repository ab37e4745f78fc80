"""Passage scores: what the scored identifiers of a query say about the passages that contain them.

The rule (Bevilacqua et al., "Autoregressive Search Engines", NeurIPS 2022, section 3.3; the code of MINDER):
- The identifiers of a passage count by falling weight, those of equal weight by lower index. The first
  occurrence in the passage (lowest position) that overlaps no position counted already counts, with
  `weight * (1 - beta + beta * share)`, where `share` is the share of its tokens whose id no identifier
  counted before in this passage contains. An identifier without a free occurrence is passed over; each
  counts once a passage, and one that a query names twice counts once, with its higher weight. Weight 0
  takes no part.
- Unigrams take part as identifiers of one token; of equal weight they come after the identifiers.
- First stage: the identifiers (not the unigrams) with at most `max_occurrences` live occurrences make the
  candidates, scored by the rule with these alone. Second stage: the best `candidates` (ties: the lower
  passage number) are scored with everything. The best `k` are returned (ties again: the lower number), if
  above 0.

Sums run in the order in which entries count, so that a score is the same to the last bit in any batch, on any
number of threads and however the index is split into parts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from limbeck.errors import InputError
from limbeck.indexes.fm_index.kernels.candidates import second_stage
from limbeck.indexes.fm_index.kernels.scoring import Entries, first_stage, mark_first
from limbeck.indexes.fm_index.ragged import Ragged

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from limbeck.indexes.fm_index.kernels.layout import PartArrays

T = TypeVar("T")

REPETITION = 0.8
MAX_OCCURRENCES = 1500
CANDIDATES = 1500


@dataclass(frozen=True, slots=True, eq=False)
class Unigrams:
    """Scored single tokens, those of the first decoding step.

    Args:
        offsets: (queries + 1,) int64, the unigrams of each query.
        tokens: (unigrams,) uint32.
        weights: (unigrams,) float64, not negative.
    """

    offsets: NDArray[np.int64]
    tokens: NDArray[np.uint32]
    weights: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class PassageScores:
    """The best passages of each query, and why.

    Attributes:
        offsets: (queries + 1,) int64, the results of each query, best first.
        passages: (results,) int64, passage numbers.
        scores: (results,) float64; the sum of a result's contributions, in their order.
        match_offsets: (results + 1,) int64, the matches of each result, in the order in which they count.
        match_entries: (matches,) int64, the index of the identifier among all that were given; the unigrams'
            indices go on where the identifiers' end.
        match_positions: (matches,) int64, where in the passage it begins, in tokens.
        match_contributions: (matches,) float64.
    """

    offsets: NDArray[np.int64]
    passages: NDArray[np.int64]
    scores: NDArray[np.float64]
    match_offsets: NDArray[np.int64]
    match_entries: NDArray[np.int64]
    match_positions: NDArray[np.int64]
    match_contributions: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.offsets) - 1


@dataclass(frozen=True, slots=True, eq=False)
class ScoredPart:
    """A part of the index as the aggregation sees it.

    Args:
        arrays: what the kernels read.
        dead: (passages,) True for deleted passages, or (0,) when none is.
        numbers: (passages,) int64, the passages' numbers, ascending.
        intervals: (identifiers, 2), where each identifier lies in the suffix array.
        encode: turns token ids (tokens,) into the part's codes, 0 for one that it does not have.
    """

    arrays: PartArrays
    dead: NDArray[np.bool_]
    numbers: NDArray[np.int64]
    intervals: NDArray[Any]
    encode: Callable[[NDArray[np.uint32]], NDArray[Any]]


@dataclass(frozen=True, slots=True)
class AggregationSettings:
    """The numbers in the rule.

    Args:
        repetition: beta, the part of a weight that tokens covered before take away; between 0 and 1.
        max_occurrences: identifiers with more live occurrences make no candidates.
        candidates: passages of a query that are scored in full.
        k: passages of a query that are returned.
        threads: at work at once; None: one a core that this process may use.

    Raises:
        InputError: one of them is out of its range.
    """

    repetition: float = REPETITION
    max_occurrences: int = MAX_OCCURRENCES
    candidates: int = CANDIDATES
    k: int = 100
    threads: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.repetition <= 1:
            raise InputError(f"repetition is {self.repetition}", expected="a number between 0 and 1")
        for name in ("max_occurrences", "candidates", "k", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}", expected="a positive integer")


@dataclass(frozen=True, slots=True, eq=False)
class _Request:
    """Identifiers and unigrams of all queries, by query and falling weight; named as in `Entries`."""

    queries: NDArray[np.int64]
    weights: NDArray[np.float64]
    tokens: Ragged
    first: NDArray[np.bool_]
    second: NDArray[np.bool_]
    source: NDArray[np.int64]  # the index of each among identifiers, then unigrams

    def in_part(self, part: ScoredPart, identifiers: int) -> Entries:
        bounds = np.zeros((len(self.source), 2), np.int64)
        own = self.source < identifiers
        bounds[own] = part.intervals[self.source[own]]
        return Entries(
            self.queries, self.weights, self.tokens.offsets, part.encode(self.tokens.values).astype(np.int64),
            np.ascontiguousarray(bounds[:, 0]), np.ascontiguousarray(bounds[:, 1]), self.first, self.second,
        )  # fmt: skip


@dataclass(slots=True, eq=False)
class _Candidates:
    """Passages with scores; all (candidates,)."""

    queries: NDArray[np.int64]
    parts: NDArray[np.int64]
    rows: NDArray[np.int64]
    numbers: NDArray[np.int64]
    scores: NDArray[np.float64]

    def best(self, limit: int) -> _Candidates:
        """The highest `limit` of each query, by query and falling score, ties by number."""
        order = np.lexsort((self.numbers, -self.scores, self.queries))
        queries = self.queries[order]
        rank = np.arange(len(order)) - np.searchsorted(queries, queries)
        return self.take(order[rank < limit])

    def take(self, places: NDArray[Any]) -> _Candidates:
        return _Candidates(*(getattr(self, name)[places] for name in self.__slots__))


def aggregate(
    parts: Sequence[ScoredPart],
    identifiers: Ragged,
    weights: NDArray[np.float64],
    query_offsets: NDArray[np.int64],
    counts: NDArray[np.int64],
    *,
    unigrams: Unigrams | None = None,
    settings: AggregationSettings | None = None,
) -> PassageScores:
    """Score passages by the rule at the head of this file.

    Args:
        parts: what is searched.
        identifiers: of all queries, one query after another.
        weights: (identifiers,), not negative.
        query_offsets: (queries + 1,), the identifiers of each query.
        counts: (identifiers,), their live occurrences over all parts.
        unigrams: more entries for the second stage.
        settings: beta, limits and threads.

    Raises:
        InputError: shapes that do not fit, an empty identifier, a weight that is negative or not finite.
    """
    settings = settings or AggregationSettings()
    query_offsets = _offsets(query_offsets, len(identifiers), "query_offsets")
    rare = (counts > 0) & (counts <= settings.max_occurrences)
    request = _request(identifiers, weights, query_offsets, rare, unigrams)
    queries = len(request.queries) - 1
    entries = [request.in_part(part, len(identifiers)) for part in parts]
    blocks = _blocks(request.queries, _threads(settings.threads, queries))
    with ThreadPoolExecutor(max(len(blocks), 1)) as pool:
        stage = _Stages(parts, entries, blocks, pool, settings)
        found = stage.candidates()
        found = found.best(settings.candidates) if len(parts) > 1 else found
        found.scores = stage.score(found)
        found = found.take(found.scores > 0).best(settings.k)
        match_offsets, matched, positions, contributions = stage.matches(found)
    offsets = np.searchsorted(found.queries, np.arange(queries + 1))
    return PassageScores(
        offsets, found.numbers, found.scores, match_offsets, request.source[matched], positions, contributions
    )


def _request(
    identifiers: Ragged,
    weights: NDArray[np.float64],
    query_offsets: NDArray[np.int64],
    rare: NDArray[np.bool_],
    unigrams: Unigrams | None,
) -> _Request:
    lengths = identifiers.lengths
    if not lengths.all():
        raise InputError(f"identifier {int(np.argmin(lengths))} is empty", expected="at least one token")
    weights = _weights(weights, len(identifiers), "identifier")
    query_of = np.repeat(np.arange(len(query_offsets) - 1), np.diff(query_offsets))
    tokens = identifiers
    if unigrams is not None:
        unigram_offsets = _offsets(unigrams.offsets, len(unigrams.tokens), "the unigrams' offsets")
        if len(unigram_offsets) != len(query_offsets):
            raise InputError(
                f"the unigrams are of {len(unigram_offsets) - 1} queries, "
                f"the identifiers of {len(query_offsets) - 1}",
                expected="the same queries",
            )
        weights = np.concatenate([weights, _weights(unigrams.weights, len(unigrams.tokens), "unigram")])
        more = np.repeat(np.arange(len(unigram_offsets) - 1), np.diff(unigram_offsets))
        query_of = np.concatenate([query_of, more])
        tokens = Ragged(
            np.concatenate([tokens.offsets, tokens.offsets[-1] + 1 + np.arange(len(unigrams.tokens))]),
            np.concatenate([tokens.values, np.asarray(unigrams.tokens, np.uint32)]),
        )
    order = np.lexsort((-weights, query_of))  # stable: identifiers before unigrams, each by index
    order = order[weights[order] > 0]
    queries = np.searchsorted(query_of[order], np.arange(len(query_offsets)))
    tokens = tokens.take(order)
    rare = np.concatenate([rare, np.zeros(len(weights) - len(rare), np.bool_)])
    everything = np.ones(len(order), np.bool_)
    return _Request(
        queries, weights[order], tokens,
        mark_first(queries, tokens.offsets, tokens.values, rare[order]),
        mark_first(queries, tokens.offsets, tokens.values, everything), order,
    )  # fmt: skip


def _offsets(offsets: NDArray[np.int64], total: int, name: str) -> NDArray[np.int64]:
    offsets = np.asarray(offsets, np.int64)
    if (
        offsets.ndim != 1
        or not len(offsets)
        or offsets[0]
        or offsets[-1] != total
        or (np.diff(offsets) < 0).any()
    ):
        raise InputError(
            f"{name} do not fit", expected=f"rising integers from 0 to {total}, one more than queries"
        )
    return offsets


def _weights(weights: NDArray[np.float64], total: int, name: str) -> NDArray[np.float64]:
    weights = np.asarray(weights, np.float64)
    if weights.shape != (total,):
        raise InputError(f"the {name}s' weights have the shape {weights.shape}", expected=f"({total},)")
    wrong = np.flatnonzero(~((weights >= 0) & np.isfinite(weights)))
    if len(wrong):
        raise InputError(
            f"{name} {wrong[0]} has the weight {weights[wrong[0]]}", expected="a finite number, not negative"
        )
    return weights


def _threads(threads: int | None, queries: int) -> int:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable if threads is None else threads, max(queries, 1))


def _blocks(queries: NDArray[np.int64], threads: int) -> list[tuple[int, int]]:
    """Runs of queries with about as many entries each, several a thread, so that none waits long."""
    wanted = min(4 * threads if threads > 1 else 1, max(len(queries) - 1, 1))
    cuts = np.searchsorted(queries[:-1], np.linspace(0, queries[-1], wanted + 1)[1:-1])
    edges = np.unique(np.concatenate([[0], cuts, [len(queries) - 1]]))
    return [(int(start), int(stop)) for start, stop in pairwise(edges)]


@dataclass(frozen=True, slots=True)
class _Stages:
    parts: Sequence[ScoredPart]
    entries: Sequence[Entries]
    blocks: Sequence[tuple[int, int]]
    pool: ThreadPoolExecutor
    settings: AggregationSettings

    def _each_block(self, work: Callable[[tuple[int, int]], T]) -> list[T]:
        if len(self.blocks) <= 1:
            return [work(block) for block in self.blocks]
        return list(self.pool.map(work, self.blocks))

    def _first_stage(self, part: ScoredPart, entries: Entries) -> list[tuple[Any, ...]]:
        repetition, limit = self.settings.repetition, self.settings.candidates

        def work(block: tuple[int, int]) -> tuple[Any, ...]:
            return first_stage(part.arrays, part.dead, entries, block[0], block[1], repetition, limit)

        return self._each_block(work)

    def candidates(self) -> _Candidates:
        """The best candidates of each query in each part, by query and row."""
        found = []
        for index, (part, entries) in enumerate(zip(self.parts, self.entries, strict=True)):
            pieces = self._first_stage(part, entries)
            counts = np.concatenate([piece[0] for piece in pieces] or [np.zeros(0, np.int64)])
            rows = np.concatenate([piece[1] for piece in pieces] or [np.zeros(0, np.int64)])
            scores = np.concatenate([piece[2] for piece in pieces] or [np.zeros(0)])
            queries = np.repeat(np.arange(len(counts)), counts)
            numbers = np.asarray(part.numbers, np.int64)[rows]
            found.append(_Candidates(queries, np.full(len(rows), index), rows, numbers, scores))
        if not found:
            empty = np.zeros(0, np.int64)
            return _Candidates(empty, empty, empty, empty, np.zeros(0))
        if len(found) == 1:
            return found[0]
        return _Candidates(
            *(np.concatenate([getattr(one, name) for one in found]) for name in _Candidates.__slots__)
        )

    def score(self, found: _Candidates) -> NDArray[np.float64]:
        """Full scores, (candidates,)."""
        scores = np.zeros(len(found.rows))
        for index in range(len(self.parts)):
            places, pieces = self._second_stage(index, found, record=False)
            if len(places):
                scores[places] = np.concatenate([piece[0] for piece in pieces])
        return scores

    def matches(
        self, found: _Candidates
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Offsets (found + 1,), and entry, position and contribution of each match."""
        lengths = np.zeros(len(found.rows), np.int64)
        starts = np.zeros(len(found.rows), np.int64)
        columns: list[list[NDArray[Any]]] = [[np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0)]]
        total = 0
        for index in range(len(self.parts)):
            places, pieces = self._second_stage(index, found, record=True)
            for column, position in zip(columns, (2, 3, 4), strict=True):
                column.extend(piece[position] for piece in pieces)
            counts = np.concatenate([piece[1] for piece in pieces] or [np.zeros(0, np.int64)])
            lengths[places] = counts
            starts[places] = total + np.cumsum(counts) - counts
            total += int(counts.sum())
        offsets = np.zeros(len(lengths) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        order = np.arange(total) + np.repeat(starts - offsets[:-1], lengths)
        entries, positions, contributions = (np.concatenate(column)[order] for column in columns)
        return offsets, entries, positions, contributions

    def _second_stage(
        self, index: int, found: _Candidates, *, record: bool
    ) -> tuple[NDArray[np.int64], list[tuple[Any, ...]]]:
        """The candidates that lie in a part, by query and row, and what the kernel says of them in blocks."""
        mine = np.flatnonzero(found.parts == index)
        mine = mine[np.lexsort((found.rows[mine], found.queries[mine]))]
        entries = self.entries[index]
        offsets = np.searchsorted(found.queries[mine], np.arange(len(entries.queries)))
        rows = found.rows[mine]
        arrays, repetition = self.parts[index].arrays, self.settings.repetition

        def work(block: tuple[int, int]) -> tuple[Any, ...]:
            return second_stage(arrays, entries, block[0], block[1], offsets, rows, repetition, record)

        return mine, self._each_block(work)
