"""What the generator learns: for a query and a passage that answers it, identifiers of the passage.

As published (MINDER, section 3.2; SEAL, section 3.2): the title, body spans drawn with more weight where they
overlap the query (`identifiers.span_weights`), and pseudo-queries, each from the query and the view's marker.
"""

from __future__ import annotations

import hashlib
import math
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from limbeck.data import Judgements, Passages, Queries
from limbeck.indexes.fm_index import Ragged, View
from limbeck.students.generative.identifiers import IdentifierView, view_settings
from limbeck.students.generative.vocabulary import Vocabulary

_BATCH = 256


@dataclass(frozen=True, slots=True)
class Example:
    """One thing to learn.

    Attributes:
        query: text.
        prompt: start marker of the view.
        target: the identifier, with its end marker where the view is generated whole.
    """

    query: str
    prompt: int
    target: list[int]


class GenerationTargets(Sequence[Example]):
    """The examples of a training, a sequence that the trainer shuffles.

    They are held as flat arrays: about 50 bytes an example of ten tokens.

    Args:
        queries: (queries,) texts.
        owners: (examples,) the place of each one's query.
        prompts: (examples,) start markers.
        targets: (examples,) rows.
    """

    def __init__(
        self, queries: Sequence[str], owners: NDArray[np.int32], prompts: NDArray[np.int64], targets: Ragged
    ) -> None:
        self.queries = list(queries)
        self.owners = owners
        self.prompts = prompts
        self.targets = targets

    @classmethod
    def draw(
        cls,
        judgements: Judgements,
        *,
        queries: Queries,
        passages: Passages,
        views: Sequence[IdentifierView],
        vocabulary: Vocabulary,
        seed: int = 0,
    ) -> GenerationTargets:
        """Draws the targets of every query and each passage that is relevant to it (grade ≥ 1).

        What is drawn for a query and a passage depends on the seed, on the two, and on how rare the query's
        tokens are among all passages that are learnt from; not on the order of the judgements.

        Args:
            judgements: of the training split.
            queries: of the training split.
            passages: texts as the index has them: what is learnt should be there to be found.
            views: what is learnt; those of the generator.
            vocabulary: with the views' markers.
            seed: of the draws.

        Raises:
            InputError: an unknown query or passage, or a view without markers.
        """
        markers = vocabulary.markers([view.name for view in view_settings(views)])
        pairs = [(q, p) for q in judgements.query_ids for p in judgements.relevant(q)]
        importance = _importance(pairs, passages, vocabulary)
        texts: list[str] = []
        places: dict[str, int] = {}
        owners, prompts, lengths, tokens = array("i"), array("q"), array("q"), array("I")
        for (query_id, passage_id), query, parts in _tokenised(pairs, queries, passages, views, vocabulary):
            random = np.random.default_rng(_digest(f"{seed}\0{query_id}\0{passage_id}"))
            if query_id not in places:
                places[query_id] = len(texts)
                texts.append(queries.text(query_id))
            for view, part in zip(views, parts, strict=True):
                marker = markers[view.settings.name]
                for target in view.targets(part, query, importance, random):
                    row = [*target, marker.end] if view.settings.whole else target
                    owners.append(places[query_id])
                    prompts.append(marker.start)
                    lengths.append(len(row))
                    tokens.extend(row)
        offsets = np.concatenate([[0], np.cumsum(np.asarray(lengths, np.int64))]).astype(np.int64)
        rows = Ragged(offsets, np.asarray(tokens, np.uint32))
        return cls(texts, np.asarray(owners, np.int32), np.asarray(prompts, np.int64), rows)

    def __len__(self) -> int:
        return len(self.owners)

    def __getitem__(self, place: int) -> Example:  # type: ignore[override]  # no slices
        query = self.queries[self.owners[place]]
        return Example(query, int(self.prompts[place]), self.targets[place].tolist())

    def counts(self, markers: Mapping[str, View]) -> dict[str, int]:
        """How many examples each view has, by its name."""
        return {name: int((self.prompts == view.start).sum()) for name, view in markers.items()}


_Pair = tuple[str, str]


def _tokenised(
    pairs: Sequence[_Pair],
    queries: Queries,
    passages: Passages,
    views: Sequence[IdentifierView],
    vocabulary: Vocabulary,
) -> Iterator[tuple[_Pair, list[int], list[list[list[int]]]]]:
    """Each pair with the tokens of its query, and of its passage's texts in each view."""
    rest = iter(pairs)
    while batch := list(islice(rest, _BATCH)):
        asked = vocabulary.encode(queries.texts([query for query, _ in batch]))
        rows = passages.rows([passage for _, passage in batch])
        texts = [[view.texts(passage) for view in views] for passage in passages.take(rows)]
        encoded = iter(vocabulary.encode([text for parts in texts for part in parts for text in part]))
        for pair, query, parts in zip(batch, asked, texts, strict=True):
            yield pair, query, [[next(encoded) for _ in part] for part in parts]


def _importance(pairs: Sequence[_Pair], passages: Passages, vocabulary: Vocabulary) -> dict[int, float]:
    """Inverse document frequency of tokens among the passages of the pairs: `log((n + 1) / df)`."""
    rows = passages.rows(sorted({passage for _, passage in pairs}))
    frequency: Counter[int] = Counter()
    for start in range(0, len(rows), _BATCH):
        taken = list(passages.take(rows[start : start + _BATCH]))
        for tokens in vocabulary.encode([passage.text for passage in taken]):
            frequency.update(set(tokens))
    return {token: math.log((len(rows) + 1) / count) for token, count in frequency.items()}


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
