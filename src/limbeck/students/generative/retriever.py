"""From a question to passages, by the identifiers that the model generates for it."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limbeck.data import Passage, Passages, Query, RankedList
from limbeck.errors import InputError
from limbeck.files import atomic_folder
from limbeck.indexes.fm_index import IdentifierIndex, PassageScores, Unigrams, View
from limbeck.indexes.fm_index.aggregation import CANDIDATES, MAX_OCCURRENCES, REPETITION
from limbeck.indexes.fm_index.locking import locked
from limbeck.students.generative.decoding import BEAMS, Generated, generate
from limbeck.students.generative.generator import Generator
from limbeck.students.generative.identifiers import IdentifierView, ViewSettings, view_settings
from limbeck.students.generative.layout import PassageLayout, passage_tokens
from limbeck.students.generative.model import load_saved_generator
from limbeck.students.generative.store import STORED, PassageStore, Segment, StoredView
from limbeck.students.generative.weighting import token_counts, unigrams_of, weights_of
from limbeck.texts import is_unicode

GENERATOR, INDEX, LOCK = "generator", "index", "lock"
UNIGRAM = "unigram"
_BATCH = 256


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """The numbers of a search; METHODS and `limbeck.indexes.fm_index.aggregation` say what they do.

    Attributes:
        beams: hypotheses a query and view.
        unigrams: single tokens that take part in a passage's score, at most; 0 for none.
        repetition: beta, the part of a weight that tokens covered before take away.
        max_occurrences: identifiers with more occurrences make no candidates.
        candidates: passages that are scored in full.
        batch_size: queries that are decoded together.
    """

    beams: int = BEAMS
    unigrams: int = 1000
    repetition: float = REPETITION
    max_occurrences: int = MAX_OCCURRENCES
    candidates: int = CANDIDATES
    batch_size: int = 16


@dataclass(frozen=True, slots=True, eq=False)
class Identifiers:
    """What was generated for questions, and what it says about passages.

    Attributes:
        generated: the identifiers.
        weights: of them, (identifiers,).
        unigrams: single tokens with their weights; None where they take no part.
    """

    generated: Generated
    weights: NDArray[np.float64]
    unigrams: Unigrams | None


@dataclass(frozen=True, slots=True)
class Match:
    """An identifier that found a passage.

    Attributes:
        identifier: name of the view in which it was generated, or `"unigram"`.
        view: name of the passage's view in which it stands.
        part: in which of the passage's texts of this view, from 0.
        start: its first character in that text.
        end: the character behind its last.
        text: the characters between.
        weight: what it adds to the passage's score.
    """

    identifier: str
    view: str
    part: int
    start: int
    end: int
    text: str
    weight: float


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that was found.

    Attributes:
        rank: 1 is best.
        passage_id: its id.
        score: sum of its identifiers' weights.
        title: of the passage.
        text: of the passage.
        matches: the identifiers that found it, those that count first first.
    """

    rank: int
    passage_id: str
    score: float
    title: str
    text: str
    matches: list[Match] = field(default_factory=list)


class GenerativeRetriever:
    """A generator with the index of the passages' identifiers.

    Args:
        generator: generates identifiers.
        index: of the passages.
        store: their texts.
        settings: of the search; may be replaced at any time.

    Example:
        >>> retriever = GenerativeRetriever.open("retriever")  # doctest: +SKIP
        >>> hit = retriever.search("what are webbed toes called", k=1)[0]  # doctest: +SKIP
        >>> hit.passage_id, hit.matches[0].text  # doctest: +SKIP
        ('nq1', 'Webbed toes')
    """

    name = "generative"

    def __init__(
        self,
        generator: Generator[Any],
        index: IdentifierIndex,
        store: PassageStore,
        settings: SearchSettings | None = None,
    ) -> None:
        self.generator = generator
        self.index = index
        self.store = store
        self.settings = settings or SearchSettings()
        self.markers = generator.vocabulary.markers([view.name for view in self.views])
        self._token_counts: tuple[str, NDArray[np.int64]] = ("", np.zeros(0, np.int64))
        self._unnamed_count: tuple[str, PassageStore | None, int] = ("", None, 0)

    # Making and changing

    @classmethod
    def build(
        cls,
        folder: Path | str,
        generator: Generator[Any],
        passages: Iterable[Passage],
        views: Sequence[IdentifierView],
        settings: SearchSettings | None = None,
    ) -> GenerativeRetriever:
        """Index passages for a generator, in a new folder that appears when it is complete.

        Args:
            folder: where; nothing or an empty folder may be there.
            generator: a trained one; it is saved with the index.
            passages: read once.
            views: which identifiers they have.
            settings: of the search.

        Raises:
            InputError: the folder is not empty, the passages are not what `Passages.write` takes, or the
                generator has no markers for a view.
        """
        folder = Path(folder)
        if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
            raise InputError("there is something here", path=folder, expected="a new or an empty folder")
        vocabulary = generator.vocabulary
        markers = vocabulary.markers([view.name for view in view_settings(views)])
        with atomic_folder(folder) as staging:
            store = PassageStore(staging, [StoredView.of(view) for view in views], vocabulary.fingerprint, {})
            name, segment = store.write_segment(passages, views)
            IdentifierIndex.build(staging / INDEX, _tokens(generator, markers, store, segment))
            generator.save(staging / GENERATOR)
            store.extended(name, 0).save()
            if folder.is_dir():
                folder.rmdir()  # empty; one rename then makes the new one appear whole
        return cls(generator, IdentifierIndex.open(folder / INDEX), PassageStore.open(folder), settings)

    @classmethod
    def open(
        cls, folder: Path | str, device: str | None = None, settings: SearchSettings | None = None
    ) -> GenerativeRetriever:
        """The retriever in a folder.

        Args:
            folder: what `build` made.
            device: where the model lives; None takes the best there is.
            settings: of the search.

        Raises:
            InputError: the folder holds no retriever, a file of it cannot be read, or the generator's
                tokenizer is not the one with which the passages were indexed.
        """
        folder = Path(folder)
        store = PassageStore.open(folder)
        generator = load_saved_generator(
            folder / GENERATOR, views=[view.settings.name for view in store.views], device=device
        )
        if generator.vocabulary.fingerprint != store.fingerprint:
            raise InputError(
                "the passages were indexed with another tokenizer than the generator's",
                path=folder,
                remedy="build the retriever again from this generator",
            )
        return cls(generator, IdentifierIndex.open(folder / INDEX), store, settings)

    @property
    def views(self) -> list[ViewSettings]:
        """What is generated."""
        return [view.settings for view in self.store.views]

    def __len__(self) -> int:
        """Passages that can be found."""
        return len(self.index) - self._unnamed()

    def refresh(self) -> None:
        """See what other processes have added and deleted."""
        self.index.refresh()
        self.store = PassageStore.open(self.store.folder)

    def add(
        self, passages: Iterable[Passage], texts: Mapping[str, Mapping[str, Sequence[str]]] | None = None
    ) -> int:
        """Make further passages retrievable; the model learns nothing.

        Args:
            passages: with new ids, or ids of deleted passages.
            texts: for views other than title and body, by their name: texts by passage id, such as
                `{"pseudo-query": {"d7": ["who barks"]}}`.

        Returns:
            How many.

        Raises:
            InputError: a passage is there already, or is not what `Passages.write` takes; texts are for
                another view, or for a passage that is not among these. Nothing is added then.
        """
        texts = texts or {}
        self._refuse_other_views(texts)
        given = [_Given(view, texts.get(view.name, {})) for view in self.views]
        with self._writing():
            name, segment = self.store.write_segment(passages, given)
            try:
                self._refuse_present(segment.passages.ids())
                _refuse_others(segment.passages, texts)
                numbers = self.index.add(_tokens(self.generator, self.markers, self.store, segment))
            except BaseException:
                shutil.rmtree(segment.passages.path.parent, ignore_errors=True)
                raise
            store = self.store.extended(name, numbers.start)
            store.save()
            self.store = store
        return len(numbers)

    def delete(self, passage_ids: Sequence[str]) -> None:
        """Make passages unretrievable, all of them or, on an error, none.

        Raises:
            InputError: a passage that is not there.
        """
        with self._writing():
            numbers = self.store.numbers(passage_ids, self.index.numbers)
            missing = np.flatnonzero(numbers < 0)
            if len(missing):
                raise InputError(f"there is no passage '{passage_ids[missing[0]]}' in the retriever")
            self.index.delete(numbers.tolist())

    # Searching

    def search(self, query: str, k: int = 10) -> list[Hit]:
        """The best passages for a question, best first, with what found them.

        Args:
            query: the question; what exceeds the generator's `max_query_length` tokens is not read.
            k: how many, 1 or more. Fewer come back where fewer contain an identifier.

        Raises:
            InputError: a blank question, one with half of a surrogate pair, or k below 1.
        """
        generated, scores = self._score([query], k)
        hits: list[Hit] = []
        for result in self._named(scores, 0, k).tolist():
            segment, passage = self.store.passage(int(scores.passages[result]))
            layout = PassageLayout(self.generator.vocabulary, self.store.texts(segment, passage))
            matches = [
                self._match(layout, generated, int(scores.match_entries[place]), scores, place)
                for place in range(*scores.match_offsets[result : result + 2].tolist())
            ]
            score = float(scores.scores[result])
            hits.append(Hit(len(hits) + 1, passage.id, score, passage.title, passage.text, matches))
        return hits

    def rank(
        self, queries: Sequence[str], k: int, query_ids: Sequence[str] | None = None
    ) -> list[RankedList]:
        """What `search` finds for several questions, as rankings.

        Args:
            queries: texts.
            k: how many passages of each, 1 or more.
            query_ids: of the rankings; None numbers them from 0.

        Returns:
            A list a query, in their order; one that found nothing is empty.
        """
        names = list(query_ids) if query_ids is not None else [str(place) for place in range(len(queries))]
        ranked = []
        for start in range(0, len(queries), self.settings.batch_size):
            batch = queries[start : start + self.settings.batch_size]
            _, scores = self._score(batch, k)
            for place, name in enumerate(names[start : start + len(batch)]):
                results = self._named(scores, place, k)
                ids = self.store.ids(scores.passages[results])
                ranked.append(RankedList(name, ids, scores.scores[results]).ordered())
        return ranked

    def mine(self, queries: Iterable[Query], depth: int) -> Iterator[RankedList]:
        """The best passages of every query, as `limbeck.mining.Miner` has it."""
        rest = iter(queries)
        while batch := list(islice(rest, self.settings.batch_size)):
            yield from self.rank([query.text for query in batch], depth, [query.id for query in batch])

    def identifiers(self, queries: Sequence[str]) -> Identifiers:
        """What the generator makes for questions, with the weights by which passages are scored.

        Args:
            queries: texts, decoded together.

        Raises:
            InputError: no question, a blank one, or one with half of a surrogate pair.
        """
        for query in queries:
            if not query.strip():
                raise InputError("the question is empty", expected="some words to search for")
            if not is_unicode(query):
                raise InputError("the question has half of a surrogate pair", expected="valid Unicode")
        settings = self.settings
        generated = generate(
            self.generator, self.index, queries, self.views, self.markers, beams=settings.beams
        )
        weights = weights_of(generated, self.views, self.index.token_count)
        unigrams = None
        if settings.unigrams and generated.first is not None:
            counts = self._counts(generated.first.shape[1])
            unigrams = unigrams_of(generated.first, counts, self.index.token_count, settings.unigrams)
        return Identifiers(generated, weights, unigrams)

    def _score(self, queries: Sequence[str], k: int) -> tuple[Generated, PassageScores]:
        if k < 1:
            raise InputError(f"k is {k}", expected="at least 1")
        settings, unnamed = self.settings, self._unnamed()
        found = self.identifiers(queries)
        scores = self.index.aggregate(
            found.generated.tokens,
            found.weights,
            found.generated.query_offsets,
            unigrams=found.unigrams,
            repetition=settings.repetition,
            max_occurrences=settings.max_occurrences,
            candidates=settings.candidates + unnamed,
            k=k + unnamed,
        )
        return found.generated, scores

    def _named(self, scores: PassageScores, query: int, k: int) -> NDArray[np.int64]:
        """The places of a query's results, but for those that the store does not know; k at most."""
        start, stop = scores.offsets[query : query + 2].tolist()
        places: NDArray[np.int64] = start + np.flatnonzero(self.store.known(scores.passages[start:stop]))[:k]
        return places

    def _unnamed(self) -> int:
        """Passages of the index that the store does not know: a writer died before it named them."""
        state = self.index.root().state
        if self._unnamed_count[0] != state or self._unnamed_count[1] is not self.store:
            count = int((~self.store.known(self.index.numbers)).sum())
            self._unnamed_count = (state, self.store, count)
        return self._unnamed_count[2]

    def _counts(self, width: int) -> NDArray[np.int64]:
        """Occurrences of each token in the present state of the index, (width,)."""
        state = self.index.root().state
        if self._token_counts[0] != state or len(self._token_counts[1]) != width:
            excluded = [token for view in self.markers.values() for token in (view.start, view.end)]
            unknown = self.generator.vocabulary.unknown
            excluded += [] if unknown is None else [unknown]
            self._token_counts = (state, token_counts(self.index, width, excluded))
        return self._token_counts[1]

    def _match(
        self, layout: PassageLayout, generated: Generated, entry: int, scores: PassageScores, place: int
    ) -> Match:
        own = entry < len(generated.tokens)
        span = layout.span(int(scores.match_positions[place]), len(generated.tokens[entry]) if own else 1)
        return Match(
            self.views[int(generated.views[entry])].name if own else UNIGRAM,
            span.view,
            span.part,
            span.start,
            span.end,
            layout.text(span),
            float(scores.match_contributions[place]),
        )

    def _refuse_other_views(self, names: Iterable[str]) -> None:
        stored = [view.settings.name for view in self.store.views if view.source == STORED]
        for name in names:
            if name not in stored:
                raise InputError(
                    f"there are texts for the view '{name}', and the retriever stores none of that name",
                    expected=f"texts for {' or '.join(stored)}" if stored else "no texts",
                )

    def _refuse_present(self, ids: Sequence[str]) -> None:
        there = np.flatnonzero(self.store.numbers(ids, self.index.numbers) >= 0)
        if len(there):
            raise InputError(
                f"passage '{ids[there[0]]}' is in the retriever already", remedy="delete it first"
            )

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Keeps other writers out, sees what they have done, and mends what a dead one has left.

        Joins the small parts of earlier changes first: a search visits every part, and a failure to join
        leaves the change undone, not done and reported as failed.
        """
        with locked(self.store.folder / LOCK, wait_s=self.index.wait_s):
            self.refresh()
            numbers = self.index.numbers
            orphans = numbers[~self.store.known(numbers)]
            if len(orphans):
                self.index.delete(orphans.tolist())
            self.index.merge(everything=False)
            yield


@dataclass(frozen=True, slots=True)
class _Given:
    """A view whose texts are given by passage id."""

    settings: ViewSettings
    by_passage: Mapping[str, Sequence[str]]

    def texts(self, passage: Passage) -> list[str]:
        return list(self.by_passage.get(passage.id, ()))


def _refuse_others(passages: Passages, texts: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
    for view, by_passage in texts.items():
        ids = list(by_passage)
        others = np.flatnonzero(~passages.contains(ids))
        if len(others):
            raise InputError(
                f"there are texts of passage '{ids[others[0]]}' for the view '{view}', and it is not added",
                expected="texts of passages that are added with them",
            )
        single = next((id_ for id_ in ids if isinstance(by_passage[id_], str)), None)
        if single is not None:
            raise InputError(
                f"the texts of passage '{single}' for the view '{view}' are {by_passage[single]!r}",
                expected="a list of texts",
            )


def _tokens(
    generator: Generator[Any], markers: Mapping[str, View], store: PassageStore, segment: Segment
) -> Iterator[NDArray[np.uint32]]:
    """The tokens of a segment's passages, as they are indexed."""
    texts = store.all_texts(segment)
    while batch := list(islice(texts, _BATCH)):
        yield from passage_tokens(generator.vocabulary, markers, batch)
