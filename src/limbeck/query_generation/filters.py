"""Which written questions are worth learning from: first by their texts, then by a ranker's judgement.

A question is kept or dropped for one reason, the first that holds:

| reason | the question |
|---|---|
| too-short, too-long | has too few words, or too many |
| title | says what the passage's title says |
| repeated | is nearly another one of the same passage |
| unspecific | is asked, nearly, of another passage too |
| not-found | its passage is not among the first that a ranker finds for it (round trip) |
| unlikely | the ranker finds it improbable that the passage answers it |

The round trip is that of Alberti et al., "Synthetic QA Corpora Generation with Roundtrip Consistency", ACL
2019, with a ranker in place of a reader, as in Dai et al., "Promptagator", arXiv 2209.11755.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from limbeck.data import RankedList, Rankings
from limbeck.query_generation.near_duplicates import similar_pairs, similarity
from limbeck.teachers.base import probabilities
from limbeck.texts import count_words, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

Reason = Literal["too-short", "too-long", "title", "repeated", "unspecific", "not-found", "unlikely"]
REASONS: tuple[Reason, ...] = get_args(Reason)


@dataclass(frozen=True, slots=True)
class Question:
    """A question that was written for a passage, and what became of it.

    Attributes:
        id: of the query that it is to be.
        passage_id: of the passage that it was written for.
        text: in a single line.
        score: the ranker's, of the passage; None where it was not asked.
        rank: of the passage among the candidates, from 1; passages with the same score go before it.
        dropped: why, or None for one that is kept.
    """

    id: str
    passage_id: str
    text: str
    score: float | None = None
    rank: int | None = None
    dropped: Reason | None = None


def drop_by_text(
    questions: Sequence[Question],
    title_of: Callable[[str], str],
    *,
    min_words: int = 3,
    max_words: int = 64,
    threshold: float = 0.8,
) -> list[Question]:
    """Drops questions by their texts alone: too short or long, a title, repeated, or unspecific.

    Args:
        questions: those of a passage in the order written; of nearly equal ones the first is kept. What is
            asked of several passages is dropped in all of them: nobody knows which of them answers it.
        title_of: the title of a passage, by its id.
        min_words: of a question; characters where no spaces are written.
        max_words: likewise.
        threshold: of the similarity (`texts.similarity`) from which two texts are nearly the same.

    Returns:
        All questions in the order given, the dropped ones with their reason.
    """
    texts = [plain(question.text) for question in questions]
    reasons: list[Reason | None] = []
    earlier: dict[str, list[str]] = defaultdict(list)
    for question, text in zip(questions, texts, strict=True):
        size = count_words(question.text)
        reason: Reason | None = None
        if size < min_words:
            reason = "too-short"
        elif size > max_words:
            reason = "too-long"
        elif similarity(text, plain(title_of(question.passage_id))) >= threshold:
            reason = "title"
        elif any(similarity(text, other) >= threshold for other in earlier[question.passage_id]):
            reason = "repeated"
        else:
            earlier[question.passage_id].append(text)
        reasons.append(reason)
    for at in _asked_of_several(questions, texts, reasons, threshold):
        reasons[at] = "unspecific"
    return [replace(question, dropped=why) for question, why in zip(questions, reasons, strict=True)]


def _asked_of_several(
    questions: Sequence[Question], texts: Sequence[str], reasons: Sequence[Reason | None], threshold: float
) -> Iterator[int]:
    """Places of the questions left that are nearly those of another passage."""
    places: dict[str, list[int]] = defaultdict(list)
    for at, text in enumerate(texts):
        if reasons[at] is None:
            places[text].append(at)
    distinct = list(places)
    # A passage has no text twice by now, so that a text with two places has two passages.
    shared = {number for number, text in enumerate(distinct) if len(places[text]) > 1}
    for one, other in similar_pairs(distinct, threshold):
        owners = {questions[at].passage_id for number in (one, other) for at in places[distinct[number]]}
        if len(owners) > 1:
            shared |= {one, other}
    for number in shared:
        yield from places[distinct[number]]


def round_trip_pairs(questions: Iterable[Question], candidates: Rankings) -> Rankings:
    """What the ranker is to score: for each question its candidates and the passage that it was written for.

    Args:
        questions: each with a list in `candidates`, or none where nothing was found.
        candidates: passages that others find for the questions.
    """

    def lists() -> Iterator[RankedList]:
        for question in questions:
            found = [
                id_ for id_ in candidates.list_for(question.id).passage_ids if id_ != question.passage_id
            ]
            passages = [question.passage_id, *found]
            yield RankedList(question.id, passages, -np.arange(len(passages), dtype=np.float64))

    return Rankings.from_lists(lists(), candidates.source)


def drop_by_ranker(
    questions: Iterable[Question], scored: Rankings, *, rank: int, min_probability: float | None = None
) -> list[Question]:
    """Drops questions that a ranker does not find answered by the passage that they were written for.

    Args:
        questions: those that are left.
        scored: `round_trip_pairs` with the ranker's scores.
        rank: the last at which the passage may stand among the candidates, from 1. Passages with the same
            score count as if they stood before it: a ranker that cannot tell has not found it.
        min_probability: the least probability, the sigmoid of the score, of the passage; None asks for none.
            It has a meaning only for rankers whose scores are logits.

    Returns:
        All questions in the order given with the score and the rank of their passage, the dropped ones with
        their reason.
    """
    judged = []
    for question in questions:
        ranked = scored.list_for(question.id)
        own = float(ranked.scores[ranked.passage_ids.index(question.passage_id)])
        place = int((ranked.scores >= own).sum())
        reason: Reason | None = None
        if place > rank:
            reason = "not-found"
        elif min_probability is not None and float(probabilities(np.array(own))) < min_probability:
            reason = "unlikely"
        judged.append(replace(question, score=own, rank=place, dropped=reason))
    return judged
