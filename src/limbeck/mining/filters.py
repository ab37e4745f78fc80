"""Taking out of rankings what must not be learned as a negative."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from limbeck.data import RankedList, Rankings
from limbeck.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from limbeck.data import Judgements


def without_positives(rankings: Rankings, judgements: Judgements) -> Rankings:
    """The rankings without the passages that are judged relevant (grade 1 or more) to their query."""

    def kept(ranked: RankedList) -> NDArray[np.bool_]:
        positives = set(judgements.relevant(ranked.query_id))
        return np.array([passage_id not in positives for passage_id in ranked.passage_ids], bool)

    return _filtered(rankings, kept)


def drop_likely_positives(
    teacher_rankings: Rankings, judgements: Judgements, share: float = 0.95
) -> Rankings:
    """Drop unjudged candidates that look relevant: the teacher scores them above a share of the positive.

    A candidate stays when `score <= share · score of the positive`; of several positives the one that the
    teacher scores lowest counts ("TopK-PercPos" of Moreira et al., "NV-Retriever", arXiv 2407.15831, 2024).
    The judged passages of a query always stay, whatever their grade, and so do the lists of queries without
    a scored positive.

    A share has a meaning only on a scale with a zero: probabilities, or cosines that are not negative. Put
    the logits of a cross-encoder through a sigmoid first (`limbeck.teachers.probabilities`).

    Args:
        teacher_rankings: candidates with the teacher's scores, 0 or more, positives among them.
        judgements: who the positives are.
        share: from 0 (every unjudged candidate goes) to 1 (those better than the positive go).

    Raises:
        InputError: for a share outside 0 to 1, or a negative score.

    Example:
        >>> rankings = Rankings.from_dict({"q": {"positive": 0.9, "twin": 0.88, "other": 0.3}}, "teacher")
        >>> drop_likely_positives(rankings, Judgements([("q", "positive", 1)]), 0.9).list_for("q").passage_ids
        ['positive', 'other']
    """
    if not 0 <= share <= 1:
        raise InputError(f"the share is {share}", expected="0 to 1")

    def kept(ranked: RankedList) -> NDArray[np.bool_]:
        if len(ranked) and ranked.scores[-1] < 0:
            raise InputError(
                f"query '{ranked.query_id}' has the negative score {ranked.scores[-1]:g}",
                expected="scores of which a share can be taken, such as probabilities",
                remedy="put logits through a sigmoid first",
            )
        grades = judgements.grades(ranked.query_id)
        judged = np.array([passage_id in grades for passage_id in ranked.passage_ids], bool)
        positive = np.array([grades.get(passage_id, 0) >= 1 for passage_id in ranked.passage_ids], bool)
        if not positive.any():
            return np.ones(len(ranked), bool)
        low = ranked.scores <= share * ranked.scores[positive].min()
        return np.asarray(judged | low, bool)

    return _filtered(teacher_rankings, kept)


def _filtered(rankings: Rankings, kept: Callable[[RankedList], NDArray[np.bool_]]) -> Rankings:
    def lists() -> Iterator[RankedList]:
        for ranked in rankings:
            mask = kept(ranked)
            ids = [passage_id for passage_id, keep in zip(ranked.passage_ids, mask, strict=True) if keep]
            yield RankedList(ranked.query_id, ids, ranked.scores[mask])

    return Rankings.from_lists(lists(), rankings.source)
