"""A run file as a teacher: scores that were computed elsewhere."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from limbeck.errors import InputError
from limbeck.teachers.base import Pair, shorten

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from limbeck.data import Passages, Queries, Rankings


class RunFileTeacher:
    """Looks scores up in rankings, such as a TREC run that another system made.

    A run knows ids and a teacher is asked texts, so this is built with the queries and passages that the
    run speaks of. Where several ids share one text, the highest of their scores counts. Memory: about 100
    bytes a row.

    Args:
        run: the scores, for example `limbeck.data.formats.trec.read_run(path)`.
        queries: the texts of its queries.
        passages: the texts of its passages.
        name: what it is called.

    Raises:
        InputError: for an id that queries or passages do not have; from `score`, for a pair that the run
            lacks.

    Example:
        >>> RunFileTeacher(read_run("bge.trec"), queries, passages).score([("who barks", "Dogs bark.")])
        array([7.25])
    """

    prompt = ""

    def __init__(self, run: Rankings, queries: Queries, passages: Passages, name: str = "run-file") -> None:
        run.check(passages, queries)
        self.name = name
        self.version = run.fingerprint
        self._queries = queries
        self._passages = passages
        self._scores: dict[bytes, float] = {}
        for ranked in run:
            text = queries.text(ranked.query_id)
            contents = passages.contents(passages.rows(ranked.passage_ids))
            for content, score in zip(contents, ranked.scores.tolist(), strict=True):
                key = _key(text, content)
                self._scores[key] = max(score, self._scores.get(key, -np.inf))

    def score(self, pairs: Sequence[Pair]) -> NDArray[np.float64]:
        """The scores (pairs,) that the run gives."""
        found = [self._scores.get(_key(*pair)) for pair in pairs]
        for pair, score in zip(pairs, found, strict=True):
            if score is None:
                raise self._missing(*pair)
        return np.array(found, np.float64)

    def _missing(self, text: str, content: str) -> InputError:
        query = next((f"'{query.id}'" for query in self._queries if query.text == text), f"'{shorten(text)}'")
        passage = next(
            (f"'{passage.id}'" for passage in self._passages if passage.content == content),
            f"'{shorten(content)}'",
        )
        return InputError(
            f"the run has no score for query {query} and passage {passage}",
            expected="a score for every candidate",
            remedy="use the run's own lists as candidates, or have the other system score these",
        )


def _key(text: str, content: str) -> bytes:
    data = text.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(
        len(data).to_bytes(8, "little") + data + content.encode("utf-8", "surrogatepass"), digest_size=16
    ).digest()
