"""One query's ranked passages, how such a list is put in order, and how several are fused."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from limbeck.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

RRF_K = 60


@dataclass(frozen=True, slots=True, eq=False)
class RankedList:
    """The passages of one query, best first.

    Args:
        query_id: the query.
        passage_ids: (passages,), each once.
        scores: (passages,), finite.

    Example:
        >>> RankedList("q1", ["d3", "d1"], np.array([2.5, 0.1])).passage_ids[0]
        'd3'
    """

    query_id: str
    passage_ids: list[str]
    scores: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.passage_ids)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, RankedList)
            and self.query_id == other.query_id
            and self.passage_ids == other.passage_ids
            and np.array_equal(self.scores, other.scores)
        )

    __hash__ = None  # type: ignore[assignment]  # scores can change

    def ordered(self) -> RankedList:
        """The list by score descending, ties by passage id ascending.

        Raises:
            InputError: for ids and scores of unequal number, an empty id, a passage that comes twice, and
                a score that is NaN or infinite.
        """
        scores = np.asarray(self.scores, np.float64)
        self._check(scores)
        order = np.argsort(-scores, kind="stable")
        ranked = scores[order]
        if np.any(ranked[1:] == ranked[:-1]):  # ids are compared only where scores do not decide
            order = np.array(sorted(range(len(scores)), key=lambda i: (-scores[i], self.passage_ids[i])))
        return RankedList(self.query_id, [self.passage_ids[i] for i in order.tolist()], scores[order])

    def _check(self, scores: NDArray[np.float64]) -> None:
        if not self.query_id or not all(self.passage_ids):
            raise InputError(f"the list of query {self.query_id!r} has an empty id")
        if scores.shape != (len(self.passage_ids),):
            raise InputError(
                f"query {self.query_id!r} has {len(self)} passages and scores of shape {scores.shape}",
                expected="one score a passage",
            )
        if not np.isfinite(scores).all():
            bad = int(np.argmin(np.isfinite(scores)))
            raise InputError(
                f"query {self.query_id!r} gives passage {self.passage_ids[bad]!r} the score {scores[bad]}",
                expected="a finite number",
            )
        if len(set(self.passage_ids)) < len(self.passage_ids):
            twice, _ = Counter(self.passage_ids).most_common(1)[0]
            raise InputError(
                f"query {self.query_id!r} ranks passage {twice!r} twice", expected="each passage once"
            )


def fuse(lists: Sequence[RankedList], depth: int | None = None) -> RankedList:
    """One list out of several for the same query.

    Which passages stay is decided round-robin: the first of each list, then the second of each, ... until
    there are `depth`; so every list gives its share. Their score is the reciprocal rank fusion of all lists,
    sum over the lists that have the passage of 1 / (60 + rank), rank from 1 (Cormack, Clarke and Büttcher,
    "Reciprocal Rank Fusion Outperforms Condorcet and Individual Rank Learning Methods", SIGIR 2009).

    Args:
        lists: at least one, all of one query, each best first.
        depth: how many passages to keep; None for all.

    Example:
        >>> a = RankedList("q", ["d1", "d2"], np.array([9.0, 8.0]))
        >>> b = RankedList("q", ["d3", "d1"], np.array([0.9, 0.8]))
        >>> fuse([a, b], depth=2).passage_ids  # d1 is 1st and 2nd, d3 only 1st
        ['d1', 'd3']
    """
    if len({ranked.query_id for ranked in lists}) != 1:
        raise ValueError(f"lists of one query are fused, not of {[ranked.query_id for ranked in lists]}")
    fused: dict[str, float] = defaultdict(float)
    for ranked in lists:
        for rank, passage_id in enumerate(ranked.passage_ids, start=1):
            fused[passage_id] += 1 / (RRF_K + rank)
    chosen: dict[str, float] = {}
    limit = len(fused) if depth is None else depth
    for rank in range(max(map(len, lists))):
        for ranked in lists:
            if rank < len(ranked) and len(chosen) < limit:
                chosen[ranked.passage_ids[rank]] = fused[ranked.passage_ids[rank]]
    return RankedList(
        lists[0].query_id, list(chosen), np.fromiter(chosen.values(), np.float64, len(chosen))
    ).ordered()
