"""Constrained beam search: the identifiers that a model finds likeliest among those that the corpus contains.

Every view of every query of a batch is a *row*; a row has up to `beams` *slots*. In each step the model gives
the slots' log-probabilities, the index picks the best tokens that may follow each slot's prefix, and the best
candidates of the row become its next slots, with their intervals and with the model's cache.

The rule, which a plain search with full-width masks follows as well (tests/students/generative):
- A candidate is a slot's prefix with one token more that occurs in the corpus; its score is the sum of the
  *unconstrained* log-probabilities of its tokens. Candidates of a row are ordered by score; equal ones by
  slot, then by token.
- A view that is generated whole starts with its start marker. Its end marker finishes a candidate that is
  among the row's best `beams`; the identifier's log-probability is that of its tokens, without the marker.
  The best `beams` of the others go on. An identifier has at least one token.
- In a view that may start and stop anywhere the best `beams` go on, and each of them, at every length, is an
  identifier. Markers never take part.
- No identifier contains the tokenizer's unknown token, which stands for many different words.
- A row ends at its view's `max_length`, or when nothing may follow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from limbeck.errors import InputError, LimbeckError
from limbeck.indexes.fm_index import IdentifierIndex, Intervals, Ragged, View
from limbeck.students.generative.generator import Generator
from limbeck.students.generative.identifiers import ViewSettings

#: Published (SEAL, MINDER); 7 on MS MARCO.
BEAMS = 15


@dataclass(frozen=True, slots=True, eq=False)
class Generated:
    """The identifiers of queries.

    Attributes:
        query_offsets: (queries + 1,) int64, the identifiers of each query: by view, then by length, then by
            score.
        views: (identifiers,) int64, the place of each one's view in the list of views.
        tokens: (identifiers,) rows; those of whole views with their markers.
        log_probabilities: (identifiers,) float64, of the tokens without markers.
        counts: (identifiers,) int64, occurrences in the index.
        first: (queries, vocabulary) float32, log-probabilities of the first token in the first view that may
            start anywhere; None where there is no such view.
    """

    query_offsets: NDArray[np.int64]
    views: NDArray[np.int64]
    tokens: Ragged
    log_probabilities: NDArray[np.float64]
    counts: NDArray[np.int64]
    first: NDArray[np.float32] | None


def generate(
    generator: Generator[Any],
    index: IdentifierIndex,
    queries: Sequence[str],
    views: Sequence[ViewSettings],
    markers: Mapping[str, View],
    *,
    beams: int = BEAMS,
) -> Generated:
    """Generates identifiers of the corpus for queries, all views of all of them together.

    Args:
        generator: the model; its mode should not be training.
        index: of the passages. Another thread must not move it on meanwhile.
        queries: texts.
        views: what to generate.
        markers: of the views, by name.
        beams: hypotheses a query and view.

    Raises:
        InputError: no query, or fewer beams than 1.
        LimbeckError: the model's probabilities are not numbers.
    """
    if not queries or beams < 1:
        raise InputError(
            f"there are {len(queries)} queries and {beams} beams", expected="at least one of either"
        )
    search = _Search(generator, index, views, markers, len(queries), beams)
    with torch.inference_mode():
        scores, state = generator.start(
            [query for query in queries for _ in views],
            [markers[view.name].start for view in views] * len(queries),
        )
        # Every slot's prefix is new to the search: a view that the corpus does not have ends here.
        follow = search.advance(_host(scores))
        while len(follow.parents):
            scores, state = generator.step(state, follow.parents, follow.tokens)
            follow = search.advance(_host(scores))
    return search.result()


def _host(scores: torch.Tensor) -> NDArray[np.float32]:
    """The scores in the host's memory: the one time in a step that it waits for the device."""
    values: NDArray[np.float32] = scores.float().cpu().contiguous().numpy()
    return values


@dataclass(frozen=True, slots=True, eq=False)
class _Follow:
    """Which slots go on: (slots,) each."""

    parents: NDArray[np.int64]
    tokens: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class _Candidates:
    """What may follow, (candidates,) each: by row, then best first."""

    rows: NDArray[np.int64]
    slots: NDArray[np.int64]
    tokens: NDArray[np.int64]
    scores: NDArray[np.float64]
    places: NDArray[np.int64]  # among the index's answers


@dataclass(slots=True, eq=False)
class _Found:
    """Identifiers as they come up."""

    rows: list[NDArray[np.int64]] = field(default_factory=list)
    tokens: list[NDArray[np.int64]] = field(default_factory=list)  # (identifiers, length) each
    scores: list[NDArray[np.float64]] = field(default_factory=list)
    counts: list[NDArray[np.int64]] = field(default_factory=list)


class _Search:
    """The slots of a batch: their rows, prefixes, scores and intervals. (slots,) each, rows ascending."""

    def __init__(  # noqa: PLR0917  # called once, by `generate`
        self,
        generator: Generator[Any],
        index: IdentifierIndex,
        views: Sequence[ViewSettings],
        markers: Mapping[str, View],
        queries: int,
        beams: int,
    ) -> None:
        self.index = index
        self.views = views
        self.beams = beams
        self.queries = queries
        every = np.tile(np.arange(len(views)), queries)
        self.whole = np.array([view.whole for view in views])[every]  # (rows,)
        self.limits = np.array([view.max_length for view in views])[every]
        self.ends = np.array([markers[view.name].end for view in views])[every]
        self.starts = np.array([markers[view.name].start for view in views])[every]
        unknown = generator.vocabulary.unknown
        self.unknown = [] if unknown is None else [unknown]
        self.markers = sorted({token for view in markers.values() for token in (view.start, view.end)})
        self.first: NDArray[np.float32] | None = None
        self.found = _Found()
        self.length = 0
        self.rows = np.arange(len(every))
        self.prefixes = np.zeros((len(every), 0), np.int64)
        self.scores = np.zeros(len(every))
        self.intervals = self._first_intervals()

    def _first_intervals(self) -> Intervals:
        prefixes = [[start] if whole else [] for start, whole in zip(self.starts, self.whole, strict=True)]
        return self.index.find(prefixes)

    def advance(self, scores: NDArray[np.float32]) -> _Follow:
        """Goes on by one token.

        Args:
            scores: (slots, vocabulary), log-probabilities; overwritten.

        Returns:
            The slots that the model has to read next.
        """
        if np.isnan(scores[:, 0]).any():  # normalised over the row: one NaN makes all of them NaN
            raise LimbeckError("the generator's probabilities are not numbers; its weights are damaged")
        whole = self.whole[self.rows]
        if self.length == 0 and not whole.all():
            # Of each query the first row that is not whole.
            self.first = scores[~whole].reshape(self.queries, -1, scores.shape[1])[:, 0].copy()
        self._forbid(scores, whole)
        candidates, intervals = self._candidates(scores)
        ends = candidates.tokens == self.ends[candidates.rows]
        finished = ends & (_ranks(candidates.rows) < self.beams)
        self._collect(candidates, intervals, np.flatnonzero(finished), whole=True)
        going = np.flatnonzero(~ends & (self.length < self.limits[candidates.rows]))
        going = going[_ranks(candidates.rows[going]) < self.beams]
        anywhere = ~self.whole[candidates.rows[going]]
        self._collect(candidates, intervals, going[anywhere], whole=False)
        self.length += 1
        # A whole identifier of full length still needs its end marker.
        going = going[~anywhere | (self.length < self.limits[candidates.rows[going]])]
        return self._move(candidates, intervals, going)

    def _forbid(self, scores: NDArray[np.float32], whole: NDArray[np.bool_]) -> None:
        scores[:, self.unknown] = -np.inf
        # At first no marker at all: an identifier has at least one token.
        rows = ~whole if self.length else np.ones(len(whole), np.bool_)
        scores[np.ix_(rows, np.array(self.markers))] = -np.inf

    def _candidates(self, scores: NDArray[np.float32]) -> tuple[_Candidates, Intervals]:
        # One more than the beams: the end marker takes no slot.
        top = self.index.top_k(scores, self.intervals, self.beams + bool(self.whole.any()))
        # Sums of float32 in float64 are exact at these sizes, so that a tie is one in any order of adding.
        sums = self.scores[:, None] + top.scores.astype(np.float64)
        places = np.flatnonzero(top.tokens >= 0)
        slots = places // top.tokens.shape[1]
        order = np.lexsort((-sums.ravel()[places], self.rows[slots]))  # stable: by slot, then by token
        places, slots = places[order], slots[order]
        found = _Candidates(self.rows[slots], slots, top.tokens.ravel()[places], sums.ravel()[places], places)
        return found, top.intervals

    def _collect(
        self, candidates: _Candidates, intervals: Intervals, chosen: NDArray[np.int64], *, whole: bool
    ) -> None:
        if not len(chosen):
            return
        rows, slots = candidates.rows[chosen], candidates.slots[chosen]
        tokens = [self.prefixes[slots], candidates.tokens[chosen, None]]
        self.found.rows.append(rows)
        self.found.tokens.append(np.hstack([self.starts[rows][:, None], *tokens] if whole else tokens))
        self.found.scores.append(self.scores[slots] if whole else candidates.scores[chosen])
        self.found.counts.append(self.index.counts(intervals.take(candidates.places[chosen])))

    def _move(self, candidates: _Candidates, intervals: Intervals, going: NDArray[np.int64]) -> _Follow:
        slots, tokens = candidates.slots[going], candidates.tokens[going]
        self.rows = candidates.rows[going]
        self.scores = candidates.scores[going]
        self.prefixes = np.hstack([self.prefixes[slots], tokens[:, None]])
        self.intervals = intervals.take(candidates.places[going])
        return _Follow(slots, tokens)

    def result(self) -> Generated:
        """All that was found."""
        found = self.found
        rows = _joined(found.rows, np.int64)
        lengths = np.repeat([part.shape[1] for part in found.tokens], [len(part) for part in found.tokens])
        offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        tokens = Ragged(offsets, _joined([part.ravel() for part in found.tokens], np.uint32))
        order = np.argsort(rows, kind="stable")
        owners = rows[order] // len(self.views)
        return Generated(
            np.searchsorted(owners, np.arange(self.queries + 1)).astype(np.int64),
            rows[order] % len(self.views),
            tokens.take(order),
            _joined(found.scores, np.float64)[order],
            _joined(found.counts, np.int64)[order],
            self.first,
        )


def _joined(parts: list[NDArray[Any]], dtype: type[np.generic]) -> NDArray[Any]:
    return np.concatenate([np.zeros(0, dtype), *(part.astype(dtype) for part in parts)])


def _ranks(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The place of each entry among those of its row, from 0; rows (entries,) stand together."""
    firsts = np.flatnonzero(np.concatenate([[True], rows[1:] != rows[:-1]])) if len(rows) else rows
    return np.arange(len(rows)) - np.repeat(firsts, np.diff(np.append(firsts, len(rows))))
