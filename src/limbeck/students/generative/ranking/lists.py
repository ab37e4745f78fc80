"""Rank lists: a query's positives and negatives in the teacher's order, which the student is to take over.

As published (DGR, arXiv 2402.10769): each query has sampled positives and negatives, two and four; each
positive heads a list of its own, and the negatives follow in the teacher's order. The lists of a query share
their negatives, so that the student scores each passage once.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from limbeck.data import Judgements, RankedList, Rankings
from limbeck.errors import InputError

#: Published.
POSITIVES, NEGATIVES = 2, 4
#: How far a positive is put above a negative that the teacher prefers, relative to that one's score.
LEAD = 1e-6


@dataclass(frozen=True, slots=True)
class RankList:
    """What one positive teaches.

    Attributes:
        passage_ids: the positive, then the negatives in the teacher's order.
        scores: the teacher's, falling; the positive's is above all others.
    """

    passage_ids: list[str]
    scores: list[float]


@dataclass(frozen=True, slots=True)
class QueryLists:
    """A query with the passages that it learns from.

    Args:
        query_id: the query.
        positives: ids of relevant passages, each of which heads a list.
        negatives: ids of passages that are not relevant.
        positive_scores: the teacher's.
        negative_scores: the teacher's.

    Raises:
        InputError: no positive or no negative, a passage that stands here twice, not one score a passage, or
            a score that is not a finite number.

    Example:
        >>> query = QueryLists("q1", ["a"], ["b", "c"], [0.5], [0.1, 0.9])
        >>> query.lists[0].passage_ids, [round(score, 3) for score in query.lists[0].scores]
        (['a', 'c', 'b'], [0.9, 0.9, 0.1])
        >>> query.lists[0].scores[0] > query.lists[0].scores[1]  # a positive leads, whatever the teacher says
        True
    """

    query_id: str
    positives: list[str]
    negatives: list[str]
    positive_scores: list[float]
    negative_scores: list[float]

    def __post_init__(self) -> None:
        ids, scores = self.passage_ids, [*self.positive_scores, *self.negative_scores]
        sizes = (len(self.positives), len(self.negatives))
        if not all(sizes):
            raise InputError(
                f"query '{self.query_id}' has {sizes[0]} positives and {sizes[1]} negatives",
                expected="at least one of either: a list of a single passage has no order",
            )
        if len(set(ids)) < len(ids):
            raise InputError(
                f"a passage stands twice in the lists of query '{self.query_id}'", expected="each once"
            )
        if sizes != (len(self.positive_scores), len(self.negative_scores)):
            raise InputError(
                f"query '{self.query_id}' has {len(ids)} passages and {len(scores)} scores",
                expected="one score a passage",
            )
        for passage, score in zip(ids, scores, strict=True):
            if not math.isfinite(score):
                raise InputError(
                    f"the teacher's score of query '{self.query_id}' and passage '{passage}' is {score}",
                    expected="a finite number",
                    remedy="score the candidates again with a sound teacher",
                )

    @property
    def passage_ids(self) -> list[str]:
        """All passages: the positives, then the negatives."""
        return [*self.positives, *self.negatives]

    @property
    def lists(self) -> list[RankList]:
        """A list for each positive. Negatives that the teacher ties stand by their ids, with equal scores."""
        ranked = sorted(
            zip(self.negatives, self.negative_scores, strict=True), key=lambda one: (-one[1], one[0])
        )
        ids, scores = [one[0] for one in ranked], [one[1] for one in ranked]
        above = scores[0] + LEAD * max(1.0, abs(scores[0]))
        return [
            RankList([positive, *ids], [max(score, above), *scores])
            for positive, score in zip(self.positives, self.positive_scores, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class RankedLists(Sequence[QueryLists]):
    """The lists of a training, and what gave none.

    Attributes:
        rows: a row a query and draw.
        unscored: (query id, passage id) of positives that the teacher has not scored.
        without_negatives: queries that have a scored positive and no scored negative.
    """

    rows: list[QueryLists]
    unscored: list[tuple[str, str]]
    without_negatives: list[str]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> QueryLists:  # type: ignore[override]  # no slices
        return self.rows[place]


def ranked_lists(
    teacher: Rankings,
    judgements: Judgements,
    *,
    candidates: Rankings | None = None,
    positives: int = POSITIVES,
    negatives: int = NEGATIVES,
    draws: int = 1,
    seed: int = 0,
) -> RankedLists:
    """Draws the lists of every judged query.

    Positives and negatives are drawn without replacement among the passages that the teacher scored. The
    draw depends on the seed, the query, and the ids of its positives and candidates; not on their scores, nor
    on what else there is to learn: runs that differ in their teacher learn from the same passages. Where
    there are fewer than asked for, the lists are shorter.

    Args:
        teacher: its scores of the candidates and of the positives; `judged` where there is no teacher.
        judgements: of the training split; grades of 1 or more are positives, which never serve as negatives.
        candidates: what the teacher was asked to score; None takes its word for it.
        positives: drawn a query, and so lists a query, at most; published 2.
        negatives: drawn a query, at most; published 4.
        draws: how often every query is drawn, with other passages each time where it has more of them.
        seed: of the draws.

    Raises:
        InputError: the teacher has not scored some candidate of a judged query, or a number is below 1.
    """
    for name, value in (("positives", positives), ("negatives", negatives), ("draws", draws)):
        if value < 1:
            raise InputError(f"{name} is {value}", expected="a positive integer")
    if candidates is not None:
        _check_scored(teacher, candidates, judgements)
    found = RankedLists([], [], [])
    for query_id in judgements.query_ids:
        ranked = teacher.list_for(query_id)
        scores = dict(zip(ranked.passage_ids, ranked.scores.tolist(), strict=True))
        relevant = judgements.relevant(query_id)
        heads = [passage for passage in relevant if passage in scores]
        found.unscored.extend((query_id, passage) for passage in relevant if passage not in scores)
        others = sorted(scores.keys() - set(relevant))
        if heads and not others:
            found.without_negatives.append(query_id)
        elif heads:
            for drawn in _draws(f"{seed}\0{query_id}", sorted(heads), others, (positives, negatives), draws):
                found.rows.append(
                    QueryLists(query_id, *drawn, *([scores[passage] for passage in ids] for ids in drawn))
                )
    return found


def judged(candidates: Rankings, judgements: Judgements) -> Rankings:
    """The judgements as a teacher: what there is to learn from without one.

    Args:
        candidates: passages of queries.
        judgements: grades; a candidate without one has 0.

    Returns:
        The candidates of judged queries and every judged passage, with their grades as scores.
    """

    def lists() -> Iterator[RankedList]:
        for query_id in judgements.query_ids:
            scores = dict.fromkeys(candidates.list_for(query_id).passage_ids, 0) | judgements.grades(query_id)
            yield RankedList(query_id, list(scores), np.array(list(scores.values()), np.float64))

    return Rankings.from_lists(lists(), "judgements")


def _check_scored(teacher: Rankings, candidates: Rankings, judgements: Judgements) -> None:
    judged_queries = set(judgements.query_ids)
    missing = [
        (ranked.query_id, passage)
        for ranked in candidates
        if ranked.query_id in judged_queries
        for passage in sorted(set(ranked.passage_ids) - set(teacher.list_for(ranked.query_id).passage_ids))
    ]
    if missing:
        raise InputError(
            f"the teacher has not scored {len(missing)} of the candidates, the first one passage "
            f"'{missing[0][1]}' of query '{missing[0][0]}'",
            expected="a score for every candidate",
            remedy="score the rest, or pass `candidates=None` to learn from what is scored",
        )


def _draws(
    key: str, heads: Sequence[str], others: Sequence[str], sizes: tuple[int, int], draws: int
) -> Iterator[tuple[list[str], list[str]]]:
    """Positives and negatives; each round goes on through a permutation, so that little comes again."""
    chosen = []
    for name, ids, size in zip("+-", (heads, others), sizes, strict=True):
        random = np.random.default_rng(_digest("\0".join([key, name, *ids])))
        size_ = min(size, len(ids))
        rounds = -(-draws * size_ // len(ids))
        order = [ids[place] for _ in range(rounds) for place in random.permutation(len(ids)).tolist()]
        chosen.append([_distinct(order, ids, draw * size_, size_) for draw in range(draws)])
    yield from zip(*chosen, strict=True)


def _distinct(order: Sequence[str], ids: Sequence[str], start: int, size: int) -> list[str]:
    """`size` different entries of `order` from `start` on; where it ends, from its beginning."""
    return list(dict.fromkeys([*order[start:], *order]))[:size] if size < len(ids) else list(ids)


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
