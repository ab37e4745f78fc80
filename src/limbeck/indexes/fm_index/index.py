"""The identifier index: any run of tokens of a corpus, what may follow it, and where it occurs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from limbeck.errors import InputError
from limbeck.indexes.fm_index import writer
from limbeck.indexes.fm_index.aggregation import (
    CANDIDATES,
    MAX_OCCURRENCES,
    REPETITION,
    AggregationSettings,
    PassageScores,
    ScoredPart,
    Unigrams,
    aggregate,
)
from limbeck.indexes.fm_index.intervals import Continuations, Intervals, Occurrences, TopK
from limbeck.indexes.fm_index.joining import join_continuations, join_occurrences, join_top_k
from limbeck.indexes.fm_index.ragged import Ragged, integer_array, pick
from limbeck.indexes.fm_index.snapshot import OpenPart, Snapshot, open_snapshot

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray

    from limbeck.indexes.fm_index.ragged import Tokens

T = TypeVar("T")

PART_TOKENS = 2**31
WAIT_S = 60.0


class IdentifierIndex:
    """Passages, each a sequence of token ids, in a folder; searchable by any run of tokens, and changeable.

    An object shows one state of the folder and stays with it whatever others write, until `refresh()`. Its
    own `add`, `delete` and `merge` bring it to the new state. Reading needs no lock; objects may be used by
    several threads, but intervals belong to the state that made them: a thread that reads while another
    writes through the same object should use a `snapshot()` of its own. One writer at a time; others wait.

    Passages have numbers, given in the order in which they are added, never used again, the same after any
    change.

    Build one with `IdentifierIndex.build`, open one with `IdentifierIndex.open`.

    Example:
        >>> index = IdentifierIndex.build(folder, [[3, 1, 4, 1], [1, 5]])
        >>> one = index.find([[1]])
        >>> found = index.continuations(one)
        >>> found.tokens.tolist(), found.counts.tolist(), index.counts(one).tolist()
        ([4, 5], [1, 1], [3])
        >>> index.add([[1, 4]]), index.delete([0])
        (range(2, 3), None)
        >>> index.locate(index.find([[1, 4]])).passages.tolist()
        [2]
    """

    def __init__(self, snapshot: Snapshot, *, wait_s: float = WAIT_S) -> None:
        self._snapshot = snapshot
        self.folder = snapshot.folder
        self.wait_s = wait_s

    # Opening and changing

    @classmethod
    def build(
        cls,
        folder: str | os.PathLike[str],
        passages: Iterable[Tokens],
        *,
        part_tokens: int = PART_TOKENS,
        wait_s: float = WAIT_S,
    ) -> IdentifierIndex:
        """Index passages in a new folder, which appears when it is complete, and open it.

        Args:
            folder: where; nothing or an empty folder may be there.
            passages: token ids, (tokens,) each; read once, in order; they get the numbers 0, 1, 2 …
            part_tokens: a part takes at most so many tokens, but for a passage that is longer by itself;
                1 to 4,294,967,295.
            wait_s: seconds that changes wait for other writers.

        Raises:
            InputError: the folder is not empty, or a token id is not an integer between 0 and 2³² - 1.
        """
        writer.build(Path(folder), passages, part_tokens=part_tokens)
        return cls.open(folder, wait_s=wait_s)

    @classmethod
    def open(
        cls, folder: str | os.PathLike[str], *, verify: bool = False, wait_s: float = WAIT_S
    ) -> IdentifierIndex:
        """Open the present state of an index.

        Args:
            folder: of the index.
            verify: read every byte and compare checksums, even where that was done before.
            wait_s: seconds that changes wait for other writers.

        Raises:
            InputError: there is no index, or a file of it is missing, truncated, damaged, foreign, or of
                another version.
        """
        return cls(open_snapshot(Path(folder), verify=verify), wait_s=wait_s)

    def refresh(self) -> bool:
        """Go to the newest state; whether there was a newer one."""
        before = self._snapshot
        self._snapshot = open_snapshot(self.folder, before)
        return self._snapshot is not before

    def snapshot(self) -> IdentifierIndex:
        """Another object in this state, which nobody else moves on. It shares the open files."""
        return IdentifierIndex(self._snapshot, wait_s=self.wait_s)

    def add(self, passages: Iterable[Tokens]) -> range:
        """Add passages; their numbers.

        Raises:
            InputError: a token id is not an integer between 0 and 2³² - 1 (nothing is added then), or another
                writer works for longer than `wait_s`.
        """
        added = writer.add(self.folder, passages, wait_s=self.wait_s)
        self.refresh()
        return added

    def delete(self, numbers: Iterable[int]) -> None:
        """Delete passages, all of them or, on an error, none.

        Raises:
            InputError: a number that no passage has, or another writer works for longer than `wait_s`.
        """
        writer.delete(self.folder, numbers, wait_s=self.wait_s)
        self.refresh()

    def merge(self, *, everything: bool = True) -> bool:
        """Join parts and drop what is deleted; whether there was anything to do. Others may write meanwhile.

        Args:
            everything: into as few parts as can be. Otherwise only the small parts at the end, and parts of
                which much is deleted, and nothing while another merge works: the cheap way to keep a
                changing index fast (see `writer.plan`).

        Raises:
            InputError: another writer at its end, or for `everything` another merge, works for longer than
                `wait_s`.
        """
        merged = writer.merge(self.folder, everything=everything, wait_s=self.wait_s)
        self.refresh()
        return merged

    def merge_in_background(self, *, everything: bool = False) -> Future[bool]:
        """Do the same in a thread; this object stays in its state until `refresh()`.

        Returns:
            Whether there was anything to do, or the error, once it is done.
        """
        future: Future[bool] = Future()

        def work() -> None:
            try:
                future.set_result(writer.merge(self.folder, everything=everything, wait_s=self.wait_s))
            except BaseException as error:  # noqa: BLE001  # whoever asks for the result gets it
                future.set_exception(error)

        threading.Thread(target=work, name="identifier-index-merge").start()
        return future

    # What there is

    @property
    def passage_count(self) -> int:
        """Passages that are not deleted."""
        return sum(part.live_passages for part in self._snapshot.manifest.parts)

    @property
    def token_count(self) -> int:
        """Tokens in them."""
        return sum(part.live_tokens for part in self._snapshot.manifest.parts)

    @property
    def part_count(self) -> int:
        """Parts that a query visits."""
        return len(self._snapshot.parts)

    @property
    def size_bytes(self) -> int:
        """Of the parts' files and the deletions."""
        return sum(
            part.part.size_bytes + part.dead.nbytes + part.dead_rows.nbytes for part in self._snapshot.parts
        )

    @property
    def numbers(self) -> NDArray[np.int64]:
        """The numbers of the passages, ascending, (passages,)."""
        return np.concatenate([np.zeros(0, np.int64), *(part.live_numbers for part in self._snapshot.parts)])

    def __len__(self) -> int:
        return self.passage_count

    def __contains__(self, number: int) -> bool:
        if not 0 <= number < self._snapshot.manifest.next_number:
            return False
        one = np.array([number], np.int64)
        return any(part.rows(one)[1][0] for part in self._snapshot.parts)

    def extract(self, numbers: ArrayLike) -> Ragged:
        """The tokens of passages (rows,), a row each.

        Raises:
            InputError: a number that no passage has.
        """
        snapshot = self._snapshot
        wanted = np.atleast_1d(integer_array(numbers, name="the passage numbers"))
        found = snapshot.find_numbers(wanted)
        pieces = [
            Ragged(*part.part.extract(rows))
            for part, (_, rows) in zip(snapshot.parts, found, strict=True)
            if len(rows)
        ]
        if len(pieces) == 1:
            return pieces[0]
        lengths = np.concatenate([np.zeros(0, np.int64), *(piece.lengths for piece in pieces)])
        values = np.concatenate([np.zeros(0, np.uint32), *(piece.values for piece in pieces)])
        places = np.concatenate([np.zeros(0, np.int64), *(places for places, _ in found)])
        offsets, picked = pick(np.concatenate([[0], np.cumsum(lengths)]), np.argsort(places))
        return Ragged(offsets, values[picked])

    # Intervals

    def root(self, rows: int = 1) -> Intervals:
        """The empty prefix, `rows` times: everything may follow it.

        Raises:
            InputError: `rows` is negative.
        """
        if rows < 0:
            raise InputError(f"rows is {rows}", expected="0 or more")
        snapshot = self._snapshot
        bounds = [part.part.root(rows) for part in snapshot.parts]
        return _intervals(snapshot, bounds, np.zeros(rows, np.int32))

    def find(self, identifiers: Ragged | Sequence[Tokens]) -> Intervals:
        """The intervals of token sequences, empty for one that occurs nowhere.

        Raises:
            InputError: a token id that is not an integer between 0 and 2³² - 1.
        """
        snapshot = self._snapshot
        if not isinstance(identifiers, Ragged):
            identifiers = Ragged.from_rows(identifiers, name="identifier")
        bounds = [part.part.find(identifiers) for part in snapshot.parts]
        return _intervals(snapshot, bounds, identifiers.lengths.astype(np.int32))

    def extend(self, intervals: Intervals, tokens: ArrayLike) -> Intervals:
        """Each prefix with one token more, empty where the token cannot follow.

        Args:
            intervals: rows of them.
            tokens: (rows,) token ids.

        Raises:
            InputError: intervals of another state, or not as many tokens.
        """
        snapshot = self._belonging(intervals)
        tokens = np.asarray(tokens)
        if tokens.shape != (len(intervals),):
            raise InputError(f"the tokens have the shape {tokens.shape}", expected=f"({len(intervals)},)")
        bounds = [
            part.part.extend(intervals.bounds[:, place], intervals.depths, tokens)
            for place, part in enumerate(snapshot.parts)
        ]
        return _intervals(snapshot, bounds, intervals.depths + np.int32(1))

    def counts(self, intervals: Intervals) -> NDArray[np.int64]:
        """Occurrences of each prefix in passages that are not deleted, (rows,)."""
        return self._added(intervals, lambda part, bounds: part.part.counts(bounds, part.dead))

    def passage_counts(self, intervals: Intervals) -> NDArray[np.int64]:
        """Passages in which each prefix occurs, (rows,). Takes time in proportion to the occurrences."""
        return self._added(intervals, lambda part, bounds: part.part.passage_counts(bounds, part.dead))

    def continuations(self, intervals: Intervals) -> Continuations:
        """The tokens that may follow each prefix, with their counts.

        Raises:
            InputError: intervals of another state.
        """
        answers = self._each(
            intervals, lambda part, bounds: part.part.continuations(bounds, intervals.depths, part.dead)
        )
        if len(answers) == 1:
            return Continuations(*answers[0])
        return join_continuations(answers, len(intervals))

    def top_k(
        self,
        scores: NDArray[np.float32],
        intervals: Intervals,
        k: int,
        *,
        rows: NDArray[np.int64] | None = None,
    ) -> TopK:
        """The k tokens with the highest scores among those that may follow each prefix.

        Equal scores go by ascending token. A score of -inf or NaN is never returned, nor a token beyond the
        width of the scores.

        Args:
            scores: (score rows, vocabulary) float32, any strides; log-probabilities or logits.
            intervals: the prefixes.
            k: how many of each.
            rows: (intervals,), the row of `scores` that is for each; None: one each, in order.

        Raises:
            InputError: intervals of another state, scores of another type or shape, or `k` below 1.
        """
        answers = self._each(
            intervals,
            lambda part, bounds: part.part.top_k(scores, bounds, intervals.depths, k, part.dead, rows),
        )
        if len(answers) == 1:
            tokens, best, bounds = answers[0][0], answers[0][1], answers[0][2][:, None]
        else:
            tokens, best, bounds = join_top_k(answers, len(intervals), k)
        depths = np.repeat(intervals.depths + np.int32(1), k)
        return TopK(tokens, best, Intervals(bounds, depths, intervals.state))

    def locate(self, intervals: Intervals, limit: int | None = None) -> Occurrences:
        """Where each prefix occurs, by passage number and position.

        Args:
            intervals: the prefixes.
            limit: at most so many of each, those of the parts with the lower numbers first, and within a part
                the first in suffix order (not the first by number); None for all.

        Raises:
            InputError: intervals of another state.
        """
        snapshot = self._belonging(intervals)
        answers = self._each(intervals, lambda part, bounds: part.part.locate(bounds, part.dead, limit))
        numbered = [
            (offsets, part.part.numbers[rows], positions)
            for part, (offsets, rows, positions) in zip(snapshot.parts, answers, strict=True)
        ]
        if len(numbered) == 1:
            return Occurrences(*numbered[0])
        return join_occurrences(numbered, len(intervals), limit)

    # Passages for identifiers

    def aggregate(
        self,
        identifiers: Ragged | Sequence[Tokens],
        weights: ArrayLike,
        query_offsets: ArrayLike,
        *,
        unigrams: Unigrams | None = None,
        repetition: float = REPETITION,
        max_occurrences: int = MAX_OCCURRENCES,
        candidates: int = CANDIDATES,
        k: int = 100,
        threads: int | None = None,
    ) -> PassageScores:
        """The passages that contain the best identifiers of each query; `aggregation` states the rule.

        Args:
            identifiers: of all queries, one query after another; none is empty.
            weights: (identifiers,), not negative; 0 takes no part.
            query_offsets: (queries + 1,), the identifiers of each query.
            unigrams: scored single tokens, which count but make no candidates.
            repetition: beta, the part of a weight that tokens covered before take away.
            max_occurrences: identifiers with more occurrences make no candidates.
            candidates: passages of a query that are scored in full.
            k: passages of a query that are returned.
            threads: at work at once; None: one a core that this process may use.

        Raises:
            InputError: shapes that do not fit, an empty identifier, a weight that is negative or not finite.
        """
        settings = AggregationSettings(repetition, max_occurrences, candidates, k, threads)
        snapshot = self._snapshot
        if not isinstance(identifiers, Ragged):
            identifiers = Ragged.from_rows(identifiers, name="identifier")
        bounds = [part.part.find(identifiers) for part in snapshot.parts]
        counts = np.zeros(len(identifiers), np.int64)
        for part, found in zip(snapshot.parts, bounds, strict=True):
            counts += part.part.counts(found, part.dead)
        parts = [_scored(part, found) for part, found in zip(snapshot.parts, bounds, strict=True)]
        weights, query_offsets = np.asarray(weights, np.float64), np.asarray(query_offsets, np.int64)
        return aggregate(
            parts, identifiers, weights, query_offsets, counts, unigrams=unigrams, settings=settings
        )

    # Over the parts

    def _belonging(self, intervals: Intervals) -> Snapshot:
        snapshot = self._snapshot
        if intervals.state != snapshot.state:
            raise InputError(
                "the intervals belong to another state of the index, or to another index",
                path=self.folder,
                expected="intervals that this object made since it was opened or last changed",
                remedy="begin again at root() or find(); keep a snapshot() to read while others write",
            )
        return snapshot

    def _each(self, intervals: Intervals, ask: Callable[[OpenPart, NDArray[np.uint32]], T]) -> list[T]:
        parts: Iterator[tuple[int, OpenPart]] = iter(enumerate(self._belonging(intervals).parts))
        return [ask(part, intervals.bounds[:, place]) for place, part in parts]

    def _added(
        self, intervals: Intervals, ask: Callable[[OpenPart, NDArray[np.uint32]], NDArray[np.int64]]
    ) -> NDArray[np.int64]:
        total = np.zeros(len(intervals), np.int64)
        for counts in self._each(intervals, ask):
            total += counts
        return total


def _intervals(snapshot: Snapshot, bounds: list[NDArray[np.uint32]], depths: NDArray[np.int32]) -> Intervals:
    """Intervals of all parts, those in deleted passages alone made empty."""
    for part, found in zip(snapshot.parts, bounds, strict=True):
        if len(part.dead):
            found[part.part.counts(found, part.dead) == 0] = 0
    if len(bounds) == 1:
        joined = bounds[0][:, None]
    else:
        joined = np.stack(bounds, axis=1) if bounds else np.zeros((len(depths), 0, 2), np.uint32)
    return Intervals(joined, depths, snapshot.state)


def _scored(part: OpenPart, intervals: NDArray[Any]) -> ScoredPart:
    alphabet = part.part.arrays.alphabet

    def encode(tokens: NDArray[np.uint32]) -> NDArray[np.int64]:
        places = np.searchsorted(alphabet, tokens)
        known = places < len(alphabet)
        known[known] = alphabet[places[known]] == tokens[known]
        return np.where(known, places + 1, 0)

    return ScoredPart(part.part.arrays, part.dead_mask, part.part.numbers, intervals, encode)
