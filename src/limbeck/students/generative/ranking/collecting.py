"""Collecting the identifiers by which the base retriever scores the passages of rank lists.

The retriever generates once for each training query; the matches of the lists' passages are kept, and
training computes their weights anew at every step. A passage in which no generated identifier stands gets
identifiers of its own, so that the student has something to make likelier: its texts in the views that are
generated whole (title, pseudo-queries), and, of up to `SPANS` spans of its body that hold most of the query,
every prefix. Of these, those count that the rule of the aggregation would count; they are listed also where
their weight is 0, and begin to matter when the training has made them likelier than the corpus has them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from limbeck.data import Queries
from limbeck.errors import InputError
from limbeck.indexes.fm_index import Ragged
from limbeck.students.generative.generator import log_probabilities
from limbeck.students.generative.identifiers import span_weights
from limbeck.students.generative.ranking.counting import Counter
from limbeck.students.generative.ranking.lists import QueryLists
from limbeck.students.generative.ranking.matches import UNIGRAM, Matches, MatchSettings, PassageMatches
from limbeck.students.generative.retriever import GenerativeRetriever, Identifiers
from limbeck.students.generative.scoring import identifier_weights, log_frequencies

#: Identifiers of a passage that are kept.
IDENTIFIERS = 100
#: Body spans that a passage gets in which nothing generated stands.
SPANS = 3

_Tokens = tuple[int, ...]


def collect_matches(
    path: str | os.PathLike[str],
    retriever: GenerativeRetriever,
    lists: Sequence[QueryLists],
    *,
    queries: Queries,
    identifiers: int = IDENTIFIERS,
) -> Matches:
    """Generates for the queries of lists, and keeps by what their passages are scored.

    Args:
        path: of the file, which appears when it is complete.
        retriever: the base retriever; its settings say how much is generated and how it is scored.
        lists: what is to be learnt.
        queries: texts.
        identifiers: kept of a passage, at most: those that count first.

    Raises:
        InputError: no lists, an unknown query, or a passage that the retriever does not have.
    """
    if not len(lists):
        raise InputError(
            "there are no rank lists", remedy="check that the training judgements name scored passages"
        )
    if identifiers < 1:
        raise InputError(f"identifiers is {identifiers}", expected="a positive integer")
    wanted: dict[str, dict[str, None]] = {}
    for row in lists:
        wanted.setdefault(row.query_id, {}).update(dict.fromkeys(row.passage_ids))
    anywhere = [place for place, view in enumerate(retriever.views) if not view.whole]
    settings = MatchSettings(
        retriever.views, anywhere[0] if anywhere else None, retriever.generator.vocabulary.fingerprint
    )
    return Matches.write(path, _collected(retriever, wanted, queries, identifiers), settings)


def _collected(
    retriever: GenerativeRetriever, wanted: Mapping[str, Mapping[str, None]], queries: Queries, limit: int
) -> Iterator[tuple[str, str, PassageMatches]]:
    """The matches of each query and passage."""
    ids, size = list(wanted), retriever.settings.batch_size
    for start in range(0, len(ids), size):
        batch = ids[start : start + size]
        texts = queries.texts(batch)
        found = retriever.identifiers(texts)
        for place, (query_id, text) in enumerate(zip(batch, texts, strict=True)):
            generated = _generated(retriever, found, place)
            passages = list(wanted[query_id])
            tokens = _passage_tokens(retriever, passages)
            for passage_id, matches in zip(
                passages, _matches(retriever, text, generated, tokens), strict=True
            ):
                yield query_id, passage_id, _first(matches, limit)


@dataclass(frozen=True, slots=True, eq=False)
class _Scored:
    """Identifiers of a query, the one with the highest weight first; (identifiers,) each."""

    tokens: list[_Tokens]  # with the markers of whole views
    views: NDArray[np.int64]
    frequencies: NDArray[np.float64]
    weights: NDArray[np.float64]

    def ordered(self) -> _Scored:
        order = np.argsort(-self.weights, kind="stable")
        return _Scored(
            [self.tokens[place] for place in order.tolist()],
            self.views[order],
            self.frequencies[order],
            self.weights[order],
        )

    def positive(self) -> _Scored:
        """Those with a weight, which alone take part in a search."""
        count = int((self.weights > 0).sum())
        return _Scored(
            self.tokens[:count], self.views[:count], self.frequencies[:count], self.weights[:count]
        )

    def joined(self, other: _Scored) -> _Scored:
        return _Scored(
            self.tokens + other.tokens,
            np.concatenate([self.views, other.views]),
            np.concatenate([self.frequencies, other.frequencies]),
            np.concatenate([self.weights, other.weights]),
        ).ordered()


def _generated(retriever: GenerativeRetriever, found: Identifiers, query: int) -> _Scored:
    """What was generated for one query of a batch, as the aggregation orders it."""
    generated, own = found.generated, slice(*found.generated.query_offsets[query : query + 2].tolist())
    tokens = [tuple(generated.tokens[place].tolist()) for place in range(own.start, own.stop)]
    views, counts, weights = generated.views[own], generated.counts[own], found.weights[own]
    if found.unigrams is not None:
        singles = slice(*found.unigrams.offsets[query : query + 2].tolist())
        single = found.unigrams.tokens[singles]
        tokens += [(token,) for token in single.tolist()]
        views = np.concatenate([views, np.full(len(single), UNIGRAM)])
        occurring = retriever.index.find(Ragged(np.arange(len(single) + 1), single))
        counts = np.concatenate([counts, retriever.index.counts(occurring)])
        weights = np.concatenate([weights, found.unigrams.weights[singles]])
    return _Scored(tokens, views, _frequencies(retriever, counts), weights).ordered().positive()


def _frequencies(retriever: GenerativeRetriever, counts: NDArray[np.int64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = log_frequencies(
        torch.from_numpy(counts), retriever.index.token_count
    ).numpy()
    return found


def _passage_tokens(retriever: GenerativeRetriever, passage_ids: Sequence[str]) -> list[list[int]]:
    numbers = retriever.store.numbers(passage_ids, retriever.index.numbers)
    missing = np.flatnonzero(numbers < 0)
    if len(missing):
        raise InputError(
            f"there is no passage '{passage_ids[missing[0]]}' in the retriever",
            expected="every passage of the rank lists",
            remedy="build the retriever from all passages",
        )
    return [row.tolist() for row in retriever.index.extract(numbers)]


def _matches(
    retriever: GenerativeRetriever, query: str, generated: _Scored, passages: Sequence[list[int]]
) -> list[PassageMatches]:
    """The matches of each passage (passages,)."""
    counter = Counter(generated.tokens, retriever.settings.repetition)
    found = []
    for passage in passages:
        matches = _match(retriever, counter, generated, passage)
        if not (matches.views != UNIGRAM).any():
            own = generated.joined(_own(retriever, query, passage))
            matches = _match(retriever, Counter(own.tokens, retriever.settings.repetition), own, passage)
        found.append(matches)
    return found


def _match(
    retriever: GenerativeRetriever, counter: Counter, scored: _Scored, passage: Sequence[int]
) -> PassageMatches:
    counted = counter.count(passage)
    entries = np.array([one.entry for one in counted], np.int64)
    factors = np.array([one.factor for one in counted], np.float64)
    views = scored.views[entries]
    whole = [view.whole for view in retriever.views] + [False]  # the last one for `UNIGRAM`
    tokens = [scored.tokens[one.entry][1:-1] if whole[view] else scored.tokens[one.entry]
              for one, view in zip(counted, views.tolist(), strict=True)]  # fmt: skip
    return PassageMatches(
        views, Ragged.from_rows(tokens), scored.frequencies[entries], factors,
        np.array([one.position for one in counted], np.int64), scored.weights[entries] * factors,
    )  # fmt: skip


def _first(matches: PassageMatches, limit: int) -> PassageMatches:
    if len(matches) <= limit:
        return matches
    return PassageMatches(
        matches.views[:limit], matches.tokens.take(np.arange(limit)), matches.frequencies[:limit],
        matches.factors[:limit], matches.positions[:limit], matches.contributions[:limit],
    )  # fmt: skip


# A passage's own identifiers


@torch.inference_mode()
def _own(retriever: GenerativeRetriever, query: str, passage: Sequence[int]) -> _Scored:
    """What a passage offers by itself, with the weights that the generator gives it."""
    asked = retriever.generator.vocabulary.encode([query])[0]
    views, rows = [], []
    for view, text in _offered(retriever, asked, passage):
        views.append(view)
        rows.append(text)
    if not rows:
        return _Scored([], np.zeros(0, np.int64), np.zeros(0), np.zeros(0))
    markers = [retriever.markers[retriever.views[view].name] for view in views]
    chances = log_probabilities(
        retriever.generator, [query] * len(rows), [marker.start for marker in markers], rows
    )
    sums = chances.double().cumsum(1).cpu()
    tokens, places, logs = [], [], []
    for row, (view, text, marker) in enumerate(zip(views, rows, markers, strict=True)):
        whole = retriever.views[view].whole
        for length in [len(text)] if whole else range(len(text), 0, -1):
            tokens.append((marker.start, *text, marker.end) if whole else tuple(text[:length]))
            places.append(view)
            logs.append(float(sums[row, length - 1]))
    counts = retriever.index.counts(retriever.index.find(tokens))
    frequencies = _frequencies(retriever, counts)
    weights = identifier_weights(
        torch.tensor(logs, dtype=torch.float64),
        torch.from_numpy(frequencies),
        bonus=torch.tensor([retriever.views[view].bonus for view in places], dtype=torch.float64),
        cap=torch.tensor([retriever.views[view].cap for view in places], dtype=torch.float64),
    )
    return _Scored(tokens, np.array(places, np.int64), frequencies, weights.numpy())


def _offered(
    retriever: GenerativeRetriever, query: Sequence[int], passage: Sequence[int]
) -> Iterator[tuple[int, list[int]]]:
    """The passage's whole texts that can be generated, then its best spans: view and tokens."""
    starts = {retriever.markers[view.name].start: place for place, view in enumerate(retriever.views)}
    unknown = retriever.generator.vocabulary.unknown
    texts: list[tuple[int, list[int]]] = []
    ends = {marker.end for marker in retriever.markers.values()}
    for token in passage:
        if token in starts:
            texts.append((starts[token], []))
        elif token not in ends:
            texts[-1][1].append(token)
    for view, text in texts:
        settings = retriever.views[view]
        if settings.whole and 0 < len(text) <= settings.max_length and unknown not in text:
            yield view, text
    for view, text in texts:
        if not retriever.views[view].whole:
            yield from (
                (view, span) for span in _spans(text, query, retriever.views[view].max_length, unknown)
            )


def _spans(text: Sequence[int], query: Sequence[int], length: int, unknown: Any) -> list[list[int]]:
    """Up to `SPANS` spans of a text that hold most of the query and do not overlap, the first ones first."""
    importance = dict.fromkeys(query, 1.0)
    spans: list[tuple[float, list[int]]] = []
    for piece in _pieces(text, unknown):
        weights = span_weights(piece, query, importance, length)
        taken = np.zeros(len(piece) + length, np.bool_)
        for start in np.argsort(-weights, kind="stable").tolist():
            if not taken[start : start + length].any():
                taken[start : start + length] = True
                spans.append((float(weights[start]), piece[start : start + length]))
    spans.sort(key=lambda one: -one[0])
    return [span for _, span in spans[:SPANS]]


def _pieces(text: Sequence[int], unknown: Any) -> list[list[int]]:
    """A text without its unknown tokens: what stands between them."""
    pieces: list[list[int]] = [[]]
    for token in text:
        if token == unknown:
            pieces.append([])
        else:
            pieces[-1].append(token)
    return [piece for piece in pieces if piece]
